"""Does an Avro value become the fields that JSON would have, and does no value or schema do anything else?"""

import io
import json
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal

import fastavro
import pytest

from data_ops.sources.kafka.registered.avro import avro_decoder, read_avro_schema
from data_ops.sources.kafka.registered.wire import UnreadableError


def record(*fields, name="Doc", **more) -> dict:
    """A schema of a record; fields: (name, type)."""
    return {"type": "record", "name": name, "fields": [{"name": n, "type": t} for n, t in fields], **more}


def written(schema, value) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()


def read(schema, raw: bytes, fields=None, references=None) -> dict:
    return avro_decoder(read_avro_schema(json.dumps(schema), references or {}, fields))(b"12345" + raw, 5)


def logical(kind: str, called: str, **more) -> dict:
    return {"type": kind, "logicalType": called, **more}


WHEN = datetime(2026, 11, 30, 12, 0, 0, 123000, UTC)


@pytest.mark.parametrize(
    ("kind", "value", "as_read"),
    [
        (logical("long", "timestamp-millis"), WHEN, WHEN),
        (logical("long", "timestamp-micros"), WHEN, WHEN),
        (logical("long", "local-timestamp-millis"), WHEN.replace(tzinfo=None), WHEN),
        (logical("int", "date"), date(2026, 11, 30), datetime(2026, 11, 30, tzinfo=UTC)),
        (logical("long", "timestamp-millis"), 10**17, "100000000000000000000 microseconds since 1970"),
        (logical("bytes", "decimal", precision=9, scale=2), Decimal("-12.34"), Decimal("-12.34")),
        (
            logical("fixed", "decimal", precision=9, scale=2, size=8, name="D"),
            Decimal("12.34"),
            Decimal("12.34"),
        ),
        (logical("bytes", "decimal", precision=999, scale=2), b"\1" * 65, b"\1" * 65),
        (logical("string", "uuid"), uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (logical("string", "uuid"), "no uuid", "no uuid"),
        (logical("int", "time-millis"), 5, 5),
        (logical("string", "unheard-of"), "a", "a"),
        (["null", "string"], None, None),
        (["null", "int", logical("long", "timestamp-millis"), "string"], WHEN, WHEN),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, "B", "B"),
        ({"type": "map", "values": "int"}, {"a": 1}, {"a": 1}),
        ({"type": "array", "items": ["null", "string"]}, ["a", None], ["a", None]),
        ("float", 0.5, 0.5),
        ("bytes", b"\xff", b"\xff"),
    ],
)
def test_every_type_is_read_as_what_it_means(kind, value, as_read):
    schema = record(("before", "string"), ("it", kind), ("text", "string"))
    plain = json.loads(json.dumps(schema).replace('"logicalType"', '"was"')) if not_of(kind, value) else schema
    raw = written(plain, {"before": "b", "it": value, "text": "t"})
    assert read(schema, raw) == {"before": "b", "it": as_read, "text": "t"}
    assert read(schema, raw, {"it"}) == {"it": as_read}
    assert read(schema, raw, {"text", "absent"}) == {"text": "t"}


def not_of(kind, value) -> bool:
    """Is a value written as what its logical type is made of, because the library's writer refuses it?"""
    return isinstance(kind, dict) and "logicalType" in kind and isinstance(value, int | bytes | str)


def test_types_that_are_named_once_are_found_again_where_the_first_place_is_left_out():
    inner = record(("text", "string"), ("again", ["null", "Inner"]), name="Inner", namespace="a.b")
    schema = record(("first", inner), ("second", "a.b.Inner"), ("third", ["null", "a.b.Inner"]))
    value = {"text": "x", "again": {"text": "y", "again": None}}
    raw = written(schema, {"first": value, "second": value, "third": value})
    assert read(schema, raw, {"third"}) == {"third": value}
    assert read(schema, raw, {"second", "third"}) == {"second": value, "third": value}


def test_a_schema_may_refer_to_others_of_the_registry():
    author = record(("name", "string"), name="Author", namespace="org.x")
    schema = record(("by", "org.x.Author"), ("text", "string"))
    whole = record(("by", author), ("text", "string"))
    raw = written(whole, {"by": {"name": "Ann"}, "text": "t"})
    assert read(schema, raw, {"by"}, {"org.x.Author": json.dumps(author)}) == {"by": {"name": "Ann"}}
    with pytest.raises(UnreadableError, match=r"not understood \(UnknownType"):
        read(schema, raw)


TREE = record(("text", "string"), ("child", ["null", "Doc"]))


@pytest.mark.parametrize(
    ("schema", "raw", "reason", "why"),
    [
        ("string", b"", "bad_avro", "EOFError"),
        (record(("text", "string")), b"\x06ab", "bad_avro", "EOFError"),
        (record(("text", "string")), b"\x01ab", "bad_avro", "EOFError"),
        (record(("text", "string")), b"\x04abc", "bad_avro", "1 bytes follow behind its end"),
        (record(("text", "string")), b"\x04\xff\xfe", "bad_utf8", "no UTF-8"),
        (record(("a", ["null", "string"]), ("text", "string")), b"\x08\x04ab", "bad_avro", "IndexError"),
        (record(("a", {"type": "enum", "name": "E", "symbols": ["A"]})), b"\x22", "bad_avro", "IndexError"),
        (TREE, b"\x00\x02" * 100_000 + b"\x00\x00", "too_deep", "too deeply"),
    ],
)
def test_a_damaged_value_is_told_with_a_reason(schema, raw, reason, why):
    for fields in (None, {"text", "a"}):
        with pytest.raises(UnreadableError, match=why) as caught:
            read(schema, raw, fields)
        assert caught.value.reason == reason


def test_a_text_that_is_not_asked_for_condemns_nothing():
    schema = record(("other", "string"), ("text", "string"))
    assert read(schema, b"\x04\xff\xfe\x04ab", {"text"}) == {"text": "ab"}


DOUBLING = [record(("f", "null"), name="R0")]
DOUBLING += [record(("f", f"R{n}"), ("g", f"R{n}"), name=f"R{n + 1}") for n in range(40)]


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ("nothing", "not understood"),
        ({"type": "record"}, "not understood"),
        ({"no": "type"}, "not understood"),
        (7, "not understood"),
        (record(("a", {"type": "array", "items": "null"})), "things that take no bytes"),
        (record(("a", {"type": "array", "items": record(("n", "null"), name="N")})), "things that take no bytes"),
        (record(("a", {"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}})), "take no bytes"),
        (record(("a", "Doc")), "has no end"),
        (record(("a", record(("b", "Doc"), name="B"))), "has no end"),
        (record(("n", ["null", record(("b", "B"), name="B")])), "has no end"),
    ],
)
def test_a_schema_that_no_value_can_be_read_by_is_refused(schema, why):
    with pytest.raises(UnreadableError, match=why) as caught:
        read(schema, b"\x02" * 20)
    assert caught.value.reason == "unknown_schema"


def test_a_schema_whose_values_cost_more_than_their_bytes_is_refused_at_once():
    references = {f"R{n}": json.dumps(schema) for n, schema in enumerate(DOUBLING[:-1])}
    with pytest.raises(UnreadableError, match="of more than 100000 parts"):
        read_avro_schema(json.dumps(DOUBLING[-1]), references, None)


def test_a_record_may_hold_itself_where_it_may_be_absent():
    inner = record(("doc", "Doc"), name="Inner")
    schema = record(("text", "string"), ("n", ["null", inner]), ("many", {"type": "array", "items": "Doc"}))
    leaf = {"text": "b", "n": None, "many": []}
    value = {"text": "a", "n": {"doc": leaf}, "many": [leaf]}
    assert read(schema, written(schema, value)) == value
