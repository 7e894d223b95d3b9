"""Which records are in a batch of columns, whatever file it comes from?"""

from typing import Any

import pyarrow as pa

from data_ops.sources.fields import RecordRows, name_of
from data_ops.sources.files.formats.columns import Columns, is_text, take_column, texts, times, values
from data_ops.sources.files.formats.conversation_cells import ConversationCells
from data_ops.sources.files.formats.unpack import Limits


def add_cells(rows: RecordRows, columns: Columns, batch: pa.RecordBatch, limits: Limits) -> None:
    """Add the records of a batch; where one of them fails, halve until it stands alone, and quarantine that one."""
    try:
        gathered = TextCells(columns, batch) if columns.conversation is None else ConversationCells(columns, batch)
    except Exception as error:  # noqa: BLE001 - whatever Arrow or Python make of a cell: it costs its row, not the file
        if len(batch) == 1:
            rows.quarantine("kills_reader", f"{type(error).__name__}: {error}", 0)
            return
        middle = len(batch) // 2
        add_cells(rows, columns, batch.slice(0, middle), limits)
        add_cells(rows, columns, batch.slice(middle), limits)
        return
    gathered.into(rows, limits)


class TextCells:
    """The cells of a batch as Python values."""

    def __init__(self, columns: Columns, batch: pa.RecordBatch) -> None:
        text, time, name = (take_column(batch, columns, column) for column in columns[:3])
        blank: list[Any] = [None] * len(batch)
        self.is_there = columns.text is not None
        self.wrong = None if text is None or is_text(text.type) else str(text.type)
        self.valid = blank if text is None else text.is_valid().to_pylist()
        self.texts = texts(text) if text is not None and self.wrong is None else blank
        self.nested = None if columns.text is None or text is not None else str(columns.text.type)
        self.times: list[Any]
        self.times, self.typed = (blank, True) if time is None else times(time)
        if columns.time is not None and time is None:  # a struct or a list: there, and no time
            self.times, self.typed = [str(columns.time.type)] * len(batch), False
        self.names = blank if name is None else values(name)

    def into(self, rows: RecordRows, limits: Limits) -> None:
        """Add them all to `rows`."""
        for text, valid, time, name in zip(self.texts, self.valid, self.times, self.names, strict=True):
            if (self.wrong and valid) or self.nested:
                rows.quarantine("wrong_type", f"the column is of type {self.wrong or self.nested}", 0)
            elif isinstance(text, bytes):
                rows.quarantine("bad_utf8", text, len(text))
            elif text is None:
                rows.quarantine("missing_text", "" if self.is_there else "there is no such column", 0)
            elif (size := len(text.encode())) > limits.record_bytes:
                rows.quarantine("oversized", text, size)
            elif self.typed:
                rows.add(text, time, name_of(name), size)
            else:
                rows.add_untyped(text, time, name, size)
