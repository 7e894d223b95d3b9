"""What does a line of JSON give, strict or not, short or long?"""

import json
import resource
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_ops.sources import json_records as records
from data_ops.sources.fields import Fields, RecordRows
from data_ops.sources.json_records import fields_of, json_parser


def read(line: bytes, *fields) -> dict:
    rows = RecordRows(0)
    json_parser(Fields(*(fields or ("text", "time", "id"))))(line, len(line), rows)
    (row,) = rows.take().to_pylist()
    return row


def test_endless_numbers_beside_the_text_cost_nothing():
    for value in ("NaN", "Infinity", "-Infinity"):
        row = read(b'{"text": "a NaN \\" Infinity", "perplexity": %s, "more": [%s]}' % ((value.encode(),) * 2))
        assert (row["text"], row["error"]) == ('a NaN " Infinity', None)
    assert read(b'{"text": NaN}')["error"] == read(b'{"text": "a", "x": NaN')["error"] == "bad_json"
    assert read(b"NaN")["error"] == "not_an_object" and read(b'{"body": "a", "x": NaN}')["error"] == "missing_text"


@pytest.mark.parametrize(
    "value",
    [b'"\\ud83d"', b'"caf\xe9"', b"1e400", b"9" * 5000, b"[NaN, -Infinity]", b'{"deep": ["\\udc00"]}'],
    ids=["half a character", "no UTF-8", "beyond floats", "beyond integers", "endless", "within"],
)
def test_only_a_field_that_is_asked_for_condemns_its_record(value):
    assert read(b'{"text": "kept", "other": %s}' % value)["text"] == "kept"
    assert read(b'{"text": "kept", "id": %s}' % value)["text"] == "kept"
    assert read(b'{"text": %s}' % value)["error"] in ("bad_utf8", "wrong_type")
    assert read(b'{"text": "kept", "time": %s}' % value)["time_note"] == "not_understood"


@pytest.mark.parametrize("spelled", ["18446744073709551616123", "-99999999999999999999", "9007199254740993", "12"])
def test_whole_ids_keep_every_digit(spelled):
    assert read(f'{{"text": "a", "id": {spelled}}}'.encode())["external_id"] == spelled


@pytest.mark.parametrize(
    ("spelled", "kept"),
    [
        ("12.0", "12"),
        ('"12.0"', "12.0"),
        ("12.5", "12.5"),
        ("true", "true"),
        ("null", None),
        ('{"$oid":"6f"}', '{"$oid":"6f"}'),
        ('"half \\ud83d"', "half \\ud83d"),
        ('["half \\ud83d"]', "['half \\ud83d']"),
    ],
)
def test_ids_are_kept_as_text_whatever_their_type(spelled, kept):
    assert read(f'{{"text": "a", "id": {spelled}}}'.encode())["external_id"] == kept


def test_paths_lead_into_objects_and_a_name_with_a_dot_is_a_name():
    line = b'{"meta": {"text": "deep", "at": "2023", "n": {"id": 7}}, "meta.id": 8}'
    row = read(line, "meta.text", "meta.at", "meta.n.id")
    assert (row["text"], row["event_time"].year, row["external_id"]) == ("deep", 2023, "7")
    assert read(line, "meta.text", None, "meta.id")["external_id"] == "8"
    assert read(b'{"meta": 7}', "meta.text")["error"] == "missing_text"
    assert fields_of([line]) == ["meta.text", "meta.at", "meta.n.id", "meta.id"]


def test_a_time_that_is_there_and_not_understood_is_told_from_a_missing_one():
    notes = [
        read(b'{"text": "a"%s}' % more)["time_note"]
        for more in (b"", b', "time": null', b', "time": ""', b', "time": "soon"')
    ]
    assert notes == [None, None, None, "not_understood"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=4),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=3), v, max_size=3),
    max_leaves=8,
)


@pytest.mark.slow
@given(
    st.dictionaries(st.sampled_from(["text", "time", "id", "x", "meta"]), VALUES),
    st.sampled_from(["text", "meta.text"]),
)
def test_a_long_line_says_what_a_short_one_says(record, text):
    line = json.dumps(record).encode()
    short = read(line, text, "time", "id")
    limit, records.LONG_BYTES = records.LONG_BYTES, 0
    try:
        long = read(line, text, "time", "id")
    finally:
        records.LONG_BYTES = limit
    if not any(isinstance(record.get(name), list | dict) for name in ("text", "time", "id", "meta")):
        assert long == short


@pytest.mark.parametrize("line", [b'{"text": "a", "x": [%s{}]}', b"[%s{}]", b'{"text": [%s{}]}'])
def test_millions_of_empty_objects_cost_little(line):
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    row = read(line % (b"{}," * 5_000_000))
    assert row["error"] in (None, "not_an_object", "wrong_type")
    assert (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    ) / 1024 < 300 and time.perf_counter() - began < 5


@pytest.mark.parametrize("depth", [1500, 10**6])
def test_depth_is_a_reason_not_a_crash(depth):
    assert read(b'{"text": "a", "x": ' + b"[" * depth + b"]" * depth + b"}")["error"] == "too_deep"
