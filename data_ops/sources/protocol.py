"""What must a source of documents be able to do?

List what is new (`discover`: cheap, no text) and read a piece again and again with the same result (`read`).
Splitting the two makes a window a short list of spans that any worker can read, and a retry exact; the price
is that every kind of source has to be replayable.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

MAX_BATCH_ROWS = 4096
MAX_BATCH_BYTES = 16 << 20


@dataclass(frozen=True)
class Span:
    """A half-open piece of one partition; `asdict` of it is JSON.

    partition: the file's path, the topic and partition number, the era.
    first_record, num_records: the ordinals it covers, first_record .. first_record + num_records.
    start, end: [start, end) in what the source seeks by: bytes of a line file (decompressed bytes of .gz and
    .zst), row numbers of Parquet, 0 and the size of a one-document file.
    modified_s: when the partition was last written, seconds since 1970; stands in for a missing event time.
    """

    partition: str
    first_record: int
    num_records: int
    start: int
    end: int
    modified_s: float


class Discovery(NamedTuple):
    """What is new since a cursor: spans in a deterministic order and the cursor behind them (JSON).

    warnings: one sentence each, naming what a human should look at (a file rewritten under us).
    drained: nothing further is there now.
    """

    spans: list[Span]
    cursor: dict[str, Any]
    warnings: list[str]
    drained: bool


class Source(Protocol):
    """A replayable, partitioned log of documents. Picklable, holds no open handles."""

    def discover(self, cursor: dict[str, Any], max_records: int) -> Discovery:
        """List at most `max_records` records behind `cursor` ({} at the start)."""
        ...

    def names(self, partition: str) -> bool:
        """Say whether `discover` would look into this partition if it were there; nothing is touched."""
        ...

    def read(self, span: Span) -> Iterator[pa.RecordBatch]:
        """Read exactly `span.num_records` rows of RECORD_SCHEMA, in order, the same at every call."""
        ...


class ChangedError(ValueError):
    """A file is no longer what `discover` saw; discover again."""
