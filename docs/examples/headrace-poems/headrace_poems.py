"""A kind of source in a package of its own: the poems of one file, parted by blank lines."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from data_ops.documents.document import records
from data_ops.sources.protocol import Discovery, Source, SourceConfig, Span


class PoemConfig(SourceConfig):
    """Poems of one file, parted by blank lines; verses that are added at its end are new poems."""

    kind: Literal["poems"] = Field("poems", description="Poems of one file.")
    file: str = Field(description="The file; an absolute path.")


class PoemSource(Source):
    """One partition, the file; the cursor is {file: poems delivered}."""

    CONFIG: ClassVar[type[SourceConfig]] = PoemConfig

    def __init__(self, label: str, config: PoemConfig) -> None:
        self.label, self.config = label, config

    def discover(self, cursor: dict[str, Any], max_records: int) -> Discovery:
        """List the poems behind those that were delivered."""
        file = self.config.file
        first, there = cursor.get(file, 0), len(self._poems())
        count = min(there - first, max_records)
        modified_s = Path(file).stat().st_mtime
        spans = [Span(file, first, count, first, first + count, modified_s)] if count else []
        return Discovery(spans, {file: first + count}, [], first + count == there)

    def names(self, partition: str) -> bool:
        """Say whether this is the file."""
        return partition == self.config.file

    def read(self, span: Span) -> Iterator[pa.RecordBatch]:
        """Read some poems."""
        poems = self._poems()[span.start : span.end]
        sizes = [len(poem.encode()) for poem in poems]
        yield records({"offset": list(range(span.start, span.end)), "text": poems, "num_bytes_read": sizes})

    def _poems(self) -> list[str]:
        return Path(self.config.file).read_text(encoding="utf-8").strip().split("\n\n")
