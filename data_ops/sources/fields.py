"""How do the fields of a record become columns, and what is wrong with those that cannot?

`Rows` gathers good and quarantined records into RECORD_SCHEMA batches. Times are understood liberally (times.py):
one that is missing or not understood only costs a document its date, never the document.
"""

import datetime
import difflib
import math
import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from data_ops.documents.document import TIME, records, sample_of
from data_ops.sources.protocol import MAX_BATCH_BYTES, MAX_BATCH_ROWS
from data_ops.sources.times import time_us

#: What a record's `time_note` says of a time that is there, but is none that we understand.
NOT_UNDERSTOOD = "not_understood"
NAMED = 12  # columns that a sentence names


class Fields(NamedTuple):
    """Where a record keeps its text, its time and its own id: names of fields, or paths to nested ones (meta.text)."""

    text: str
    time: str | None = None
    id: str | None = None


class RecordRows:
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
        self.unclear: list[int] = []  # rows whose time is there and not understood
        self.num_bytes = 0

    @property
    def full(self) -> bool:
        """Are these rows enough for one batch?"""
        return self.num_bytes >= MAX_BATCH_BYTES or len(self.texts) >= MAX_BATCH_ROWS

    def add(self, text: str, time: int | None, name: str | None, size: int) -> None:
        """Add a good record that took `size` bytes to read; `time` in microseconds since 1970."""
        self.texts.append(text)
        self.times.append(time)
        self.names.append(name)
        self.sizes.append(size)
        self.errors.append(None)
        self.num_bytes += size

    def add_untyped(self, text: str, time: object, name: object, size: int) -> None:
        """Add a good record whose time and id are as its file has them."""
        micros = None if time is None else time_us(time)
        if micros is None and time is not None and time != "":
            self.unclear.append(len(self.texts))
        self.add(text, micros, name_of(name), size)

    def quarantine(self, reason: str, raw: bytes | str, size: int) -> None:
        """Add a record that cannot be read, with a sample of it."""
        self.add(sample_of(raw), None, None, size)
        self.errors[-1] = reason
        self.num_bytes -= size

    def add_absent(self, reason: str, time: int | None, name: str | None) -> None:
        """Add a place that holds no document; `reason` is one of ABSENT."""
        self.add("", time, name, 0)
        self.errors[-1] = reason

    def name_last(self, name: str) -> None:
        """Give the last record an id that does not stand in the record itself."""
        self.names[-1] = name

    def date_last(self, time: int | None, *, is_there: bool) -> None:
        """Give the last record a time that does not stand in the record itself; is_there: though not understood."""
        self.times[-1] = time
        if is_there and time is None:
            self.unclear.append(len(self.times) - 1)

    def take(self) -> pa.RecordBatch:
        """Hand out what was gathered as one batch and start anew."""
        columns: dict[str, Any] = {
            "offset": list(range(self.next_record, self.next_record + len(self.texts))),
            "text": self.texts,
            "event_time": pa.array(self.times, pa.int64()).cast(TIME),
            "external_id": self.names,
            "num_bytes_read": self.sizes,
            "error": self.errors,
        }
        if self.unclear:
            rows = set(self.unclear)
            columns["time_note"] = [NOT_UNDERSTOOD if row in rows else None for row in range(len(self.texts))]
        self.next_record += len(self.texts)
        self._clear()
        return records(columns)


def told_absent(wanted: str, columns: Sequence[str]) -> str:
    """Tell that there is no column of this name for the text, which there are, and what to do.

    >>> told_absent("bdy", ["id", "body"])
    "it has no column 'bdy' for text; it has id, body; did you mean body?"
    """
    near = difflib.get_close_matches(wanted, columns, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "set text to one of them"
    more = f" and {len(columns) - NAMED} more" if len(columns) > NAMED else ""
    return f"it has no column {wanted!r} for text; it has {', '.join(columns[:NAMED])}{more}; {hint}"


def pick(record: Mapping[str, object], path: str) -> object:
    """Give the field of this name, else the nested one that the path leads to; None if there is neither.

    >>> pick({"meta": {"text": "a"}}, "meta.text"), pick({"meta.text": "b"}, "meta.text"), pick({}, "meta.text")
    ('a', 'b', None)
    """
    if path in record or "." not in path:
        return record.get(path)
    value: object = record
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


def name_of(value: object) -> str | None:
    """Read a record's own id as text, whatever its type: `headrace trace` finds a document by it.

    A whole float is an integer that pandas made a float, because one id was missing; 16 bytes that are no text are a
    UUID. What is an object or a list is kept as JSON.

    >>> name_of(12.0), name_of(bytes(15) + bytes([5])), name_of({"$oid": "6f"})
    ('12', '00000000-0000-0000-0000-000000000005', '{"$oid":"6f"}')
    """
    if value is None or isinstance(value, str):
        return None if value is None else _whole(value)
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return (
            str(int(value))
            if not isinstance(value, int) and math.isfinite(value) and value == int(value)
            else str(value)
        )
    if isinstance(value, bytes):
        return _name_of_bytes(value)
    if isinstance(value, datetime.date | datetime.time | datetime.timedelta):
        return str(value)
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, orjson.JSONEncodeError):  # an integer beyond 64 bits, or half a character, somewhere within
        return _whole(str(value))


def _whole(text: str) -> str:
    """Spell out the halves of characters, which no UTF-8 can hold."""
    return text.encode("utf-8", "backslashreplace").decode()


def _name_of_bytes(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = ""
    if text.isprintable() and (text or not value):
        return text
    return str(uuid.UUID(bytes=value)) if len(value) == 16 else value.hex()
