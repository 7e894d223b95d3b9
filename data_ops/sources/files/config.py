"""What can be configured of a source of files?"""

import re
from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from cluster.storage.uri import expanded_path
from cluster.units import Duration, Size
from data_ops.sources.files.formats.unpack import Limits
from data_ops.sources.files.listing import glob_regex, split_pattern
from data_ops.sources.files.notified.config import NotificationsConfig
from data_ops.sources.objective import ObjectiveConfig


class FilesConfig(ObjectiveConfig):
    """Files on a disk or in a bucket that grow in number or by appended lines."""

    FINDS: ClassVar[frozenset[str]] = frozenset({"path", "settle", "wait", "notifications", "weight"})

    kind: Literal["files"] = Field("files", description="Files on a disk or in a bucket.")
    path: str | tuple[str, ...] = Field(description="Globs (*, ?, [..], ** for folders): local, file://, s3://, gs://.")
    text: str = Field("text", min_length=1, description="The field or column that holds the text.")
    time: str | None = Field(None, description="The field or column of the event time; none: the file's own time.")
    id: str | None = Field(None, description="The field or column of the record's own id, kept for reference.")
    format: Literal["auto", "jsonl", "csv", "tsv", "parquet", "text", "lines"] = Field(
        "auto", description="auto: by a file's first bytes and name; text: a document a file; lines: one a line."
    )
    max_record_bytes: Size = Field(16 << 20, ge=64, le=256 << 20, description="A longer record is quarantined.")
    max_ratio: int = Field(
        1000, ge=1, le=10**9, description="Unpacked bytes for each packed one behind the first 32 MiB; more is no text."
    )
    max_unpack_memory: Size = Field(
        2 << 30, ge=1 << 20, le=4 << 30, description="What a stream may ask for to be unpacked (the window of zstd)."
    )
    settle: Duration = Field(
        5.0,
        ge=0,
        le=86400,
        description="A file is quiet once it stood still so long, by our own clock; until then a run waits.",
    )
    wait: bool = Field(False, description="Start even if no file matches yet.")
    notifications: NotificationsConfig | None = Field(
        None, description="Of an s3:// path: a queue tells what is new, instead of a listing at every look."
    )

    @field_validator("path")
    @classmethod
    def _paths_are_globs(cls, path: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for pattern in (path,) if isinstance(path, str) else path:
            if not pattern:
                raise ValueError(f"path={path!r} holds an empty pattern; write for example data/**/*.jsonl")
            try:
                glob_regex(split_pattern(pattern)[1])
            except re.error as error:
                raise ValueError(
                    f"path={pattern!r} has brackets that match nothing ({error.msg}); write [a-z]"
                ) from None
        if not path:
            raise ValueError(f"path={path!r} names nothing; write for example data/**/*.jsonl")
        return path

    @model_validator(mode="after")
    def _only_s3_notifies(self) -> Self:
        strange = next((pattern for pattern in self.patterns if not pattern.startswith("s3://")), None)
        if self.notifications is not None and strange is not None:
            raise ValueError(f"notifications are of s3:// buckets, and path={strange!r} is none; leave them out")
        return self

    @property
    def patterns(self) -> tuple[str, ...]:
        """The globs, one or several."""
        return (self.path,) if isinstance(self.path, str) else self.path

    @property
    def limits(self) -> Limits:
        """What reading one file may cost."""
        return Limits(self.max_record_bytes, self.max_ratio, self.max_unpack_memory)

    @property
    def waits(self) -> bool:
        """Whether a run starts though no file is there yet."""
        return self.wait

    @property
    def alone(self) -> str | None:
        """The queue, if there is one: a message of it comes to one reader."""
        return self.notifications.queue if self.notifications else None

    def describe(self) -> str:
        """Tell which globs are read."""
        return f"path={', '.join(self.patterns)}"

    def absolute(self) -> Self:
        """Return the same with globs that do not depend on the working directory."""
        whole = tuple(p if "://" in p else str(expanded_path(p).absolute()) for p in self.patterns)
        return self.model_copy(update={"path": whole[0] if isinstance(self.path, str) else whole})
