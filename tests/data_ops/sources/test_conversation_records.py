"""Is a line, or a message of a topic, read as the conversation that it holds?"""

import json

from data_ops.conversations.fields import ConversationFields
from data_ops.sources.conversation_records import conversation_parser
from data_ops.sources.fields import RecordRows
from data_ops.sources.json_records import LONG_BYTES
from data_ops.sources.kafka.client import Message
from data_ops.sources.kafka.config import KafkaConfig
from data_ops.sources.kafka.values import parser_of

SAID = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]


def read(line: bytes) -> dict[str, object]:
    rows = RecordRows(0)
    conversation_parser(ConversationFields(), "at", "id")(line, len(line), rows)
    (row,) = rows.take().to_pylist()
    return dict(row)


def test_time_and_id_come_with_a_conversation_and_a_number_that_is_none_does_no_harm_beside_it() -> None:
    row = read(json.dumps({"messages": SAID, "at": "2026-01-02", "id": 7, "score": float("nan")}).encode())
    assert (row["text"], str(row["event_time"])[:10], row["external_id"]) == ("▶ Why?\n◀ So.", "2026-01-02", "7")


def test_a_blank_line_is_empty_and_one_beyond_a_mebibyte_is_refused_before_it_is_built() -> None:
    assert (read(b" ")["text"], read(b" ")["error"]) == ("", None)
    row = read(json.dumps({"messages": SAID, "more": "x" * LONG_BYTES}).encode())
    assert row["error"] == "long_conversation" and str(row["text"]).startswith("its record is over 1 MiB: {")


def test_a_message_of_a_topic_holds_one_too() -> None:
    rows, value = RecordRows(0), json.dumps({"messages": SAID}).encode()
    config = KafkaConfig(servers="a:1", topics="talks", objective="instruct")
    parser_of(config, "talks/0")(Message(3, value, None, (), 1_000), rows)
    (row,) = rows.take().to_pylist()
    assert (row["text"], row["external_id"], row["error"]) == ("▶ Why?\n◀ So.", "talks/0/3", None)
