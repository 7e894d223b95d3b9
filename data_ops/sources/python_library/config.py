"""What can be configured of the Python library as a source?"""

from typing import ClassVar, Literal

from pydantic import Field

from data_ops.sources.protocol import SourceConfig


class PythonLibraryConfig(SourceConfig):
    """A dated stream of the texts every Python carries."""

    IS_SAMPLE: ClassVar[bool] = True

    kind: Literal["python"] = Field("python", description="The texts of the Python standard library.")
    megabytes: float = Field(3.0, ge=0.2, le=20, description="About how much text, in 10^6 bytes, over all months.")
