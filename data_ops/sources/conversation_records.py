"""Which conversation is in one line or message of JSON, or in a row of a table?

The records of texts have the same way (json_records.py, tables.py); what differs is that a conversation is read from
several fields, and that a long line is refused before it becomes objects.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import orjson

from data_ops.conversations.fields import ConversationFields, transcript_of
from data_ops.conversations.messages import UnfitError
from data_ops.sources.fields import Fields, RecordRows, pick
from data_ops.sources.json_records import LONG_BYTES, Parse, second_look


class RawRecord(NamedTuple):
    """A record as it was read, of which a sample is kept, and how many bytes were read for it."""

    raw: bytes | str
    num_bytes: int


def conversation_parser(conversation: ConversationFields, time: str | None, id: str | None) -> Parse:
    """Make the function that takes a line as one JSON object that holds a conversation."""
    fields = Fields(conversation.messages, time, id)

    def parse(line: bytes, num_bytes: int, rows: RecordRows) -> None:
        raw = RawRecord(line, num_bytes)
        if len(line) > LONG_BYTES:
            refuse(rows, UnfitError(f"its record is over {LONG_BYTES >> 20} MiB", "long_conversation"), raw)
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
        get = functools.partial(pick, record)
        when, name = (get(field) if field else None for field in (time, id))
        add_conversation(rows, conversation, get, raw, lambda text: rows.add_untyped(text, when, name, num_bytes))

    return parse


def add_conversation(
    rows: RecordRows,
    conversation: ConversationFields,
    get: Callable[[str], object],
    raw: RawRecord,
    add: Callable[[str], None],
) -> None:
    """Add the conversation of a record, of which `get` gives a field, as a text; or quarantine the record."""
    try:
        text = transcript_of(conversation, get)
    except UnfitError as error:
        refuse(rows, error, raw)
    else:
        add(text)


def refuse(rows: RecordRows, error: UnfitError, record: RawRecord) -> None:
    """Quarantine a record, and say why before its sample."""
    text = record.raw.decode("utf-8", "replace") if isinstance(record.raw, bytes) else record.raw
    rows.quarantine(error.reason, f"{error}: {text[:200]}", record.num_bytes)
