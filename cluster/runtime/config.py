"""What can be configured of the Ray connection?"""

from pydantic import Field

from cluster.units import Settings, Size


class ClusterConfig(Settings):
    """Which Ray to use."""

    address: str | None = Field(None, description="Ray cluster; absent: RAY_ADDRESS, else a local Ray.")
    num_cpus: int | None = Field(None, ge=1, description="Logical CPUs of a local Ray; absent: all, at least 4.")
    object_store: Size | None = Field(None, ge=80 * 2**20, description="Object store of a local Ray, in bytes.")
