"""What can be configured of the Python library as a source?"""

from typing import Literal

from pydantic import Field

from cluster.units import Settings


class PythonLibraryConfig(Settings):
    """A dated stream of the texts every Python carries."""

    kind: Literal["python"] = Field("python", description="The texts of the Python standard library.")
    megabytes: float = Field(3.0, ge=0.2, le=20, description="About how much text, in 10^6 bytes, over all months.")
    weight: float = Field(1.0, gt=0, le=1e6, description="How strongly these documents pull in the reservoir.")
