"""How do the fields of a record become columns, and what is wrong with those that cannot?

`Rows` gathers good and quarantined records into RECORD_SCHEMA batches. Times are understood liberally (ISO
8601, seconds to nanoseconds since 1970): a missing one only costs a document its date, never the document.
"""

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from data_ops.documents.document import TIME, records, sample_of
from data_ops.sources.protocol import MAX_BATCH_BYTES, MAX_BATCH_ROWS

MAX_YEAR_US = 253402300799_000000  # the end of year 9999
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Rows:
    """Records on their way into a batch; `full` says when to `take` them."""

    def __init__(self, first_record: int) -> None:
        self.next_record = first_record
        self._clear()

    def _clear(self) -> None:
        self.texts: list[str | None] = []
        self.times: list[int | None] = []
        self.names: list[str | None] = []
        self.sizes: list[int] = []
        self.errors: list[str | None] = []
        self.num_bytes = 0

    @property
    def full(self) -> bool:
        return self.num_bytes >= MAX_BATCH_BYTES or len(self.texts) >= MAX_BATCH_ROWS

    def add(self, text: str, time_us: int | None, name: str | None, size: int) -> None:
        """Add a good record that took `size` bytes to read."""
        self.texts.append(text)
        self.times.append(time_us)
        self.names.append(name)
        self.sizes.append(size)
        self.errors.append(None)
        self.num_bytes += size

    def quarantine(self, reason: str, raw: bytes | str, size: int) -> None:
        """Add a record that cannot be read, with a sample of it."""
        self.add(sample_of(raw), None, None, size)
        self.errors[-1] = reason
        self.num_bytes -= size

    def take(self) -> pa.RecordBatch:
        """Hand out what was gathered as one batch and start anew."""
        columns = {
            "offset": list(range(self.next_record, self.next_record + len(self.texts))),
            "text": self.texts,
            "event_time": pa.array(self.times, pa.int64()).cast(TIME),
            "external_id": self.names,
            "num_bytes_read": self.sizes,
            "error": self.errors,
        }
        self.next_record += len(self.texts)
        self._clear()
        return records(columns)


def time_us(value: Any) -> int | None:
    """Read a time as microseconds since 1970 UTC; None if it is missing or not understood.

    ISO 8601 (without a zone: UTC), or a number: seconds, from 1e11 on milliseconds, 1e14 on microseconds,
    from 1e17 on nanoseconds.

    >>> time_us("1970-01-01T00:00:01Z"), time_us(1), time_us(1_700_000_000_123), time_us("soon")
    (1000000, 1000000, 1700000000123000, None)
    """
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            return _number_us(value)
        return _moment_us(moment)
    if isinstance(value, datetime):
        return _moment_us(value)
    return _number_us(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _moment_us(moment: datetime) -> int | None:
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH
    return since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds


def _number_us(value: str | float) -> int | None:
    try:
        number = float(value)
        size = abs(number)
        scale = 1e6 if size < 1e11 else 1e3 if size < 1e14 else 1 if size < 1e17 else 1e-3
        micros = int(value * int(scale)) if isinstance(value, int) and scale >= 1 else round(number * scale)
    except (ValueError, OverflowError):
        return None
    return micros if abs(micros) <= MAX_YEAR_US else None


def name_of(value: Any) -> str | None:
    """Read a record's own id: strings and integers, anything else is none."""
    return value if isinstance(value, str) else str(value) if type(value) is int else None
