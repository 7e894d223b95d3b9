"""Which conversation is in one line or message of JSON, or in one row of a table?

The records of texts have the same way (json_records.py, tables.py); what differs is that a conversation is read from
several fields, and that a long line is refused before it becomes objects.
"""

import functools
from typing import Any

import orjson

from data_ops.conversations.fields import ConversationFields, transcript_of
from data_ops.conversations.messages import UnfitError
from data_ops.sources.fields import Fields, RecordRows, pick
from data_ops.sources.json_records import LONG_BYTES, Parse, second_look


def conversation_parser(conversation: ConversationFields, time: str | None, id: str | None) -> Parse:
    """Make the function that takes a line as one JSON object that holds a conversation."""
    fields = Fields(conversation.messages, time, id)

    def parse(line: bytes, num_bytes: int, rows: RecordRows) -> None:
        if len(line) > LONG_BYTES:
            refuse(rows, UnfitError("long_conversation", f"its record is over {LONG_BYTES >> 20} MiB"), line, num_bytes)
            return
        try:
            record = orjson.loads(line)
        except (ValueError, RecursionError) as error:
            if not line or line.isspace():
                rows.add("", None, None, num_bytes)
                return
            record, reason = second_look(line, fields, error)
            if reason:
                rows.quarantine(reason, line, num_bytes)
                return
        if type(record) is not dict:
            rows.quarantine("not_an_object", line, num_bytes)
            return
        add_conversation(rows, conversation, record, (time, id), line, num_bytes)

    return parse


def add_conversation(
    rows: RecordRows,
    conversation: ConversationFields,
    record: dict[str, Any],
    others: tuple[str | None, str | None],
    raw: bytes | str,
    num_bytes: int,
) -> None:
    """Add the conversation of a record, whose time and id are in the other fields; raw: of which a sample is kept."""
    get = functools.partial(pick, record)
    try:
        text = transcript_of(conversation, get)
    except UnfitError as error:
        refuse(rows, error, raw, num_bytes)
    else:
        time, name = (get(field) if field else None for field in others)
        rows.add_untyped(text, time, name, num_bytes)


def refuse(rows: RecordRows, error: UnfitError, raw: bytes | str, num_bytes: int) -> None:
    """Quarantine a record, and say why before its sample."""
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    rows.quarantine(error.reason, f"{error}: {text[:200]}", num_bytes)
