"""What is in one row of a table, whose first row names the columns?"""

import csv

from data_ops.conversations.fields import ConversationFields
from data_ops.sources.conversation_records import RawRecord, add_conversation
from data_ops.sources.fields import Fields, RecordRows
from data_ops.sources.files.formats.lines import PREFIX
from data_ops.sources.json_records import BOM, Parse

csv.field_size_limit(1 << 30)  # a record is measured before it comes here


def table_parser(
    header: bytes, delimiter: str, fields: Fields, conversation: ConversationFields | None = None
) -> Parse:
    """Make the function that takes a row of a table with this header; a row of another length is quarantined."""
    names = column_names(header, delimiter)
    text, time, name = (names.index(field) if field and names.count(field) == 1 else None for field in fields)
    absent = "duplicate_column" if names.count(fields.text) > 1 else "missing_text"

    def parse(line: bytes, num_bytes: int, rows: RecordRows) -> None:
        try:
            cells = row_of(line, delimiter)
        except UnicodeDecodeError:
            rows.quarantine("bad_utf8", line, num_bytes)
            return
        except csv.Error:
            cells = []
        if len(cells) != len(names) and not line.strip():
            rows.add("", None, None, num_bytes)
        elif len(cells) != len(names):
            rows.quarantine("bad_row", line, num_bytes)
        elif conversation is not None:
            record = {column: cell for column, cell in zip(names, cells, strict=True) if cell}
            when, known = (record.get(field or "") for field in fields[1:])

            def add(text: str) -> None:
                rows.add_untyped(text, when, known, num_bytes)

            add_conversation(rows, conversation, record.get, RawRecord(line, num_bytes), add)
        elif text is None:
            rows.quarantine(absent, line, num_bytes)
        else:
            when, known = (None if column is None else cells[column] or None for column in (time, name))
            rows.add_untyped(cells[text], when, known, num_bytes)

    return parse


def column_names(header: bytes, delimiter: str) -> list[str]:
    """Read the names of a table's columns; none where its first row is no row."""
    try:
        return row_of(PREFIX.sub(b"", header).decode(errors="replace").encode(), delimiter)
    except csv.Error:
        return []


def row_of(line: bytes, delimiter: str) -> list[str]:
    """Read one row of a table."""
    row = line.removeprefix(BOM).decode().rstrip("\r\n")
    return next(csv.reader([row], delimiter=delimiter, strict=True), [])
