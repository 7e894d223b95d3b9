"""What can be configured of a dataset of Hugging Face on a disk or in a bucket?"""

from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator

from cluster.storage.uri import absolute_uri, split_uri
from cluster.units import Size
from data_ops.sources.objective import ObjectiveConfig


class DatasetConfig(ObjectiveConfig):
    """A dataset as `save_to_disk` of Hugging Face's `datasets` writes it."""

    FINDS: ClassVar[frozenset[str]] = frozenset({"path", "split", "on_loss", "wait", "weight", "license"})

    kind: Literal["dataset"] = Field("dataset", description="A dataset that was saved by save_to_disk.")
    path: str = Field(min_length=1, description="The folder of the dataset: local, file://, s3:// or gs://.")
    split: str | None = Field(
        None, min_length=1, description="Which split, where the folder holds several; none: the only one."
    )
    text: str = Field("text", min_length=1, description="The column that holds the text.")
    time: str | None = Field(
        None, min_length=1, description="The column of the event time; none: when the dataset was saved."
    )
    id: str | None = Field(None, min_length=1, description="The column of the row's own id, kept for reference.")
    on_loss: Literal["stop", "continue"] = Field(
        "stop", description="Where another dataset took the place of one that was not read to its end: go on, or stop."
    )
    wait: bool = Field(False, description="Start even if the dataset is not there yet.")
    max_record_bytes: Size = Field(16 << 20, ge=64, le=256 << 20, description="A longer text is quarantined.")

    @field_validator("path")
    @classmethod
    def _is_one_folder(cls, path: str) -> str:
        split_uri(path)  # says itself what is wrong
        if path.endswith((".json", ".arrow")):
            raise ValueError(f"path={path} is a file of a dataset; write the folder that holds it")
        return path

    @field_validator("split")
    @classmethod
    def _is_a_name(cls, split: str | None) -> str | None:
        if split is not None and ("/" in split or split in (".", "..")):
            raise ValueError(f"split={split} is no name of a split; write for example train")
        return split

    @property
    def root(self) -> str:
        """The folder as an absolute path or a URI."""
        return absolute_uri(self.path)

    @property
    def waits(self) -> bool:
        """Whether a run starts though nothing is there yet."""
        return self.wait

    def describe(self) -> str:
        """Tell which dataset is read."""
        return f"path={self.path}" + (f", split={self.split}" if self.split else "")

    def absolute(self) -> Self:
        """Return the same, independent of the working directory."""
        return self.model_copy(update={"path": self.root})
