"""What can be configured of a Delta table?

Keys and credentials of a bucket come from the usual chains, as they do for the store; none has a place here.
"""

from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator

from cluster.storage.uri import absolute_uri, split_uri
from cluster.units import Size
from data_ops.sources.objective import ObjectiveConfig


class DeltaConfig(ObjectiveConfig):
    """A Delta table on a disk or in a bucket."""

    FINDS: ClassVar[frozenset[str]] = frozenset({"path", "on_delete", "on_loss", "wait", "weight", "license"})

    kind: Literal["delta"] = Field("delta", description="A Delta table.")
    path: str = Field(min_length=1, description="The folder of the table: local, file://, s3:// or gs://.")
    text: str = Field("text", min_length=1, description="The column that holds the text.")
    time: str | None = Field(
        None, min_length=1, description="The column of the event time; none: when its file was written."
    )
    id: str | None = Field(None, min_length=1, description="The column of the row's own id, kept for reference.")
    on_delete: Literal["ignore", "stop"] = Field(
        "ignore",
        description="At a version that deletes or changes rows: take what is new in it (what was read stays), or stop.",
    )
    on_loss: Literal["stop", "continue"] = Field(
        "stop",
        description="Where a file was vacuumed, the log cleaned or the table made again before it was read: go on, or "
        "stop.",
    )
    wait: bool = Field(False, description="Start even if the table or its first row is not there yet.")
    max_record_bytes: Size = Field(16 << 20, ge=64, le=256 << 20, description="A longer text is quarantined.")

    @field_validator("path")
    @classmethod
    def _is_one_folder(cls, path: str) -> str:
        split_uri(path)  # says itself what is wrong
        if path.rstrip("/").endswith("/_delta_log"):
            raise ValueError(f"path={path} is the log of a table; write the folder that holds it")
        return path

    @property
    def root(self) -> str:
        """The folder as an absolute path or a URI, by which the table is named."""
        return absolute_uri(self.path)

    @property
    def waits(self) -> bool:
        """Whether a run starts though nothing is there yet."""
        return self.wait

    def describe(self) -> str:
        """Tell which table is read."""
        return f"path={self.path}"

    def absolute(self) -> Self:
        """Return the same, independent of the working directory."""
        return self.model_copy(update={"path": self.root})
