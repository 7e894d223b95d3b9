"""What can be configured of windows, and what does ingest need to know of a store?"""

from dataclasses import dataclass

from pydantic import Field

from cluster.units import Duration, Settings, Share, Size
from data_ops.conversations.template import ChatTemplate
from data_ops.curation.config import CurateConfig
from data_ops.sources.protocol import SourceConfig


class WindowConfig(Settings):
    """How much one pass of ingest takes in."""

    max_documents: int = Field(10_000, ge=1, le=1_000_000, description="records a window holds at most")
    max_bytes: Size = Field(256 << 20, ge=1 << 20, description="bytes of files a window holds at most")
    max_seconds: Duration = Field(5.0, gt=0, description="longest a record waits for its window under --follow")
    as_configured: int | None = Field(
        None, ge=0, description="an open window to read with this configuration, though it was planned with another"
    )


@dataclass(frozen=True)
class IngestSettings:
    """Everything that decides what the documents of a store become."""

    sources: dict[str, SourceConfig]
    window: WindowConfig
    curate: CurateConfig
    seed: int
    held_out: Share
    chat: ChatTemplate | None = None  # how conversations are put before the model; None: the store has none
    closes: bool = False  # does a document end with the token that closes a text for encoders?
    owner: str = ""  # the run, or the lease of an ingest, that plans windows
