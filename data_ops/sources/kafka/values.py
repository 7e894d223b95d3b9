"""What document is in a message?

A value is read by the code that reads lines of files (json_records.py), so that the same text has the same fate
wherever it comes from; one whose schema lies in a registry, by registered/records.py. Its id and time may stand in the
message around it: key, headers, timestamp, place in the log.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from data_ops.sources.conversation_records import conversation_parser
from data_ops.sources.fields import Fields, RecordRows, name_of
from data_ops.sources.json_records import Parse, json_parser, parse_document
from data_ops.sources.kafka.config import HEADER, KafkaConfig, is_of_the_message
from data_ops.sources.kafka.registered.records import registered_parser
from data_ops.sources.times import time_us

if TYPE_CHECKING:
    from data_ops.sources.kafka.client import Message

#: Reads a message of a topic's partition into the rows.
ParseMessage = Callable[["Message", RecordRows], None]


def parser_of(config: KafkaConfig, partition: str) -> ParseMessage:
    """Make the function that takes one message of this partition as a record."""
    parse, limit = _value_parser(config), config.max_record_bytes
    id_place = config.id if is_of_the_message(config.id) else None
    time_place = config.time if is_of_the_message(config.time) else None

    def parse_message(message: "Message", rows: RecordRows) -> None:
        value, place = message.value, f"{partition}/{message.offset}"
        if value is None:
            rows.add_absent("tombstone", _time_us(message, "kafka.timestamp"), place)
            return
        if len(value) > limit:
            rows.quarantine("oversized", value, len(value))
        else:
            parse(value, len(value), rows)
        if id_place == "kafka.offset" or rows.errors[-1] is not None:
            rows.name_last(place)
        elif id_place is not None and (name := _part(message, id_place)) is not None:
            rows.name_last(name)
        if time_place is not None:
            time = _time_us(message, time_place)
            rows.date_last(time, is_there=time is None and bool(_part(message, time_place)))

    return parse_message


def _value_parser(config: KafkaConfig) -> Parse:
    if config.format == "text":
        return parse_document
    if config.format == "bytes":
        return _parse_bytes
    id_field, time_field = (None if is_of_the_message(name) else name for name in (config.id, config.time))
    if config.is_registered and config.registry is not None:
        fields = Fields(config.text, time_field, id_field)
        return registered_parser(config.format, config.registry, fields, config.conversations)
    if (conversations := config.conversations) is not None:
        return conversation_parser(conversations, time_field, id_field)
    return json_parser(Fields(config.text, time_field, id_field))


def _parse_bytes(value: bytes, num_bytes: int, rows: RecordRows) -> None:
    rows.add(value.decode("utf-8", "replace"), None, None, num_bytes)


def _part(message: "Message", place: str) -> str | None:
    """Read the key or a header as text; None where there is none."""
    if place == "kafka.key":
        return name_of(message.key)
    return next((name_of(value) for name, value in message.headers if name == place.removeprefix(HEADER)), None)


def _time_us(message: "Message", place: str) -> int | None:
    if place == "kafka.timestamp":
        return None if message.timestamp_ms is None else 1000 * message.timestamp_ms
    return time_us(_part(message, place))
