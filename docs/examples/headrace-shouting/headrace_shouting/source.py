"""The source `crowd`: messages that nobody wrote, every third in capitals."""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from data_ops.documents.document import records
from data_ops.sources.protocol import Discovery, Source, SourceConfig, Span


class CrowdConfig(SourceConfig):
    """Made-up messages."""

    kind: Literal["crowd"] = Field("crowd", description="Made-up messages.")
    messages: int = Field(300, ge=1, description="How many.")


class Crowd(Source):
    """One partition; the cursor is {crowd: messages delivered}."""

    CONFIG: ClassVar[type[SourceConfig]] = CrowdConfig

    def __init__(self, label: str, config: CrowdConfig) -> None:
        self.config = config

    def discover(self, cursor: dict[str, Any], max_records: int) -> Discovery:
        """List the messages behind those that were delivered."""
        first, there = cursor.get("crowd", 0), self.config.messages
        count = min(there - first, max_records)
        spans = [Span("crowd", first, count, first, first + count, 1.7e9 + 86_400 * first)] if count else []
        return Discovery(spans, {"crowd": first + count}, [], first + count == there)

    def names(self, partition: str) -> bool:
        """Say whether this is the one partition."""
        return partition == "crowd"

    def read(self, span: Span) -> Iterator[pa.RecordBatch]:
        """Make some messages up."""
        numbers = range(span.first_record, span.first_record + span.num_records)
        texts = [f"This is message {n}, and it says that the water of mill {n * 7 % 13} is fine." for n in numbers]
        texts = [text.upper() if n % 3 == 0 else text for n, text in zip(numbers, texts, strict=True)]
        yield records({"offset": list(numbers), "text": texts, "num_bytes_read": [len(text) for text in texts]})
