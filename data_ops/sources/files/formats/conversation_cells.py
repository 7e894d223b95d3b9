"""Which conversations are in a batch of a Parquet file: lists of messages, or columns of prompts and completions?"""

from typing import Any

import pyarrow as pa

from data_ops.sources.conversation_records import RawRecord, add_conversation
from data_ops.sources.fields import RecordRows, name_of
from data_ops.sources.files.formats.columns import Columns, take_column, times, values
from data_ops.sources.files.formats.unpack import Limits


class ConversationCells:
    """The cells of a batch as Python values, of each field that may hold a conversation, and of time and id."""

    def __init__(self, columns: Columns, batch: pa.RecordBatch) -> None:
        assert columns.conversation is not None
        self.fields, self.num_rows = columns.conversation, len(batch)
        found = {name: take_column(batch, columns, c) for name, c in zip(self.fields, columns.spoken, strict=True)}
        self.said = {name: values(array) for name, array in found.items() if array is not None}
        time, name = (take_column(batch, columns, column) for column in (columns.time, columns.id))
        blank: list[Any] = [None] * len(batch)
        self.times, self.typed = (blank, True) if time is None else times(time)
        self.names = blank if name is None else values(name)

    def into(self, rows: RecordRows, limits: Limits) -> None:
        """Add them all to `rows`."""
        for row in range(self.num_rows):
            record = {name: column[row] for name, column in self.said.items()}
            raw = RawRecord(str(record)[:200], 0)

            def add(text: str, row: int = row) -> None:
                size = len(text.encode())
                if size > limits.record_bytes:
                    rows.quarantine("oversized", text, size)
                elif self.typed:
                    rows.add(text, self.times[row], name_of(self.names[row]), size)
                else:
                    rows.add_untyped(text, self.times[row], self.names[row], size)

            add_conversation(rows, self.fields, record.get, raw, add)
