"""Does a Parquet file give all it holds, whatever its names, types and bytes, and cost no more than it may?"""

import resource
import time
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_ops.documents.reasons import QUARANTINE
from data_ops.sources.fields import Fields
from data_ops.sources.files.formats.parquet import bytes_of
from data_ops.sources.protocol import Span
from tests.support.files.rows import OLD, put, read_rows

LATIN = [b"A good row about the river.", b"CAF\xc9 exported as Latin-1.", b"Another good row."]


def as_strings(values: list[bytes]) -> pa.Array:
    """A STRING column of bytes that nobody checked, as Spark and ODBC write them."""
    return pa.Array.from_buffers(pa.string(), len(values), [None, *pa.array(values, pa.binary()).buffers()[1:]])


def write(path, columns, names=None, **options):
    table = pa.Table.from_arrays(list(columns), names) if names else pa.table(columns)
    pq.write_table(table, path, **options)
    return path


@pytest.mark.parametrize("dictionary", [True, False])
def test_one_bad_cell_costs_its_row_in_any_column(tmp_path, dictionary):
    path = write(tmp_path / "a.parquet", {"text": as_strings(LATIN)}, use_dictionary=dictionary)
    assert [row["error"] for row in read_rows(path)] == [None, "bad_utf8", None]
    for name in ("id", "time"):
        columns = {"text": ["a", "b", "c"], name: as_strings([b"2023-01-02", b"\xc9", b"2024-01-02"])}
        rows = read_rows(write(tmp_path / "a.parquet", columns, use_dictionary=dictionary), **{name: name})
        assert [row["text"] for row in rows] == ["a", "b", "c"]
        assert [row["external_id"] for row in rows] == (
            ["2023-01-02", "c9", "2024-01-02"] if name == "id" else [None] * 3
        )


def test_a_name_that_stands_twice_matters_only_for_the_text(tmp_path):
    twice = [pa.array(["a row"]), pa.array(["x"]), pa.array(["y"])]
    rows = read_rows(write(tmp_path / "a.parquet", twice, ["text", "id", "id"]), id="id")
    assert [(row["text"], row["external_id"], row["error"]) for row in rows] == [("a row", None, None)]
    rows = read_rows(write(tmp_path / "b.parquet", twice, ["text", "text", "id"]), id="id")
    assert [row["error"] for row in rows] == ["duplicate_column"] and "text" in rows[0]["text"]
    rows = read_rows(write(tmp_path / "c.parquet", twice, ["other", "text", "other"]))
    assert [row["text"] for row in rows] == ["x"]


def test_a_column_whose_name_is_no_text_is_passed_over(tmp_path):
    path = write(tmp_path / "a.parquet", {"text": ["one", "two"], "xxxx": [1, 2]})
    put(path, path.read_bytes().replace(b"xxxx", b"x\xffxx"))
    assert [row["text"] for row in read_rows(path)] == ["one", "two"]


INSTANTS = [datetime(1970, 1, 1, 0, 0, 10), datetime(1971, 7, 1), datetime(1972, 12, 31), datetime(2023, 1, 2, 10)]
TYPES = [pa.timestamp(unit, zone) for unit in ("ms", "us", "ns") for zone in (None, "UTC", "Asia/Tokyo")]


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_a_typed_time_is_its_instant(tmp_path, kind):
    column = pa.array([None, *INSTANTS], pa.timestamp("us")).cast(pa.timestamp(kind.unit)).cast(kind)
    rows = read_rows(write(tmp_path / "a.parquet", {"text": ["t"] * 5, "time": column}), time="time")
    assert [row["event_time"] for row in rows] == [None, *(moment.replace(tzinfo=UTC) for moment in INSTANTS)]
    assert [row["time_note"] for row in rows] == [None] * 5


@pytest.mark.parametrize("options", [{}, {"use_deprecated_int96_timestamps": True}])
def test_the_last_year_is_not_another_one(tmp_path, options):
    column = pa.array([*INSTANTS, datetime(9999, 12, 31)], pa.timestamp("us"))
    rows = read_rows(write(tmp_path / "a.parquet", {"text": ["t"] * 5, "time": column}, **options), time="time")
    assert [row["event_time"] for row in rows] == [t.replace(tzinfo=UTC) for t in (*INSTANTS, datetime(9999, 12, 31))]


def test_dates_decimals_and_endless_stamps(tmp_path):
    def read(column):
        path = write(tmp_path / "a.parquet", {"text": ["t"] * len(column), "time": column})
        return [(row["event_time"], row["time_note"]) for row in read_rows(path, time="time")]

    assert read(pa.array([date(1971, 7, 1), date(9999, 12, 31)])) == [
        (datetime(1971, 7, 1, tzinfo=UTC), None),
        (datetime(9999, 12, 31, tzinfo=UTC), None),
    ]
    assert read(pa.array([Decimal("1672653600.5")])) == [(datetime(2023, 1, 2, 10, 0, 0, 500000, tzinfo=UTC), None)]
    assert read(pa.array([2023, 5], pa.int64())) == [(datetime(2023, 1, 1, tzinfo=UTC), None), (None, "not_understood")]
    (last,) = read(pa.array([2**62], pa.int64()).cast(pa.timestamp("ms")))
    assert last[0] == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert read(pa.array([[1]])) == [(None, "not_understood")]


def test_ids_survive_whatever_their_type(tmp_path):
    columns = {
        "float": pa.array([12.0, None, 12.5]),
        "uuid": pa.array([uuid.UUID(int=2**127).bytes] * 3, pa.binary(16)),
        "small": pa.array([uuid.UUID(int=5).bytes, b"key", b""], pa.binary()),
        "decimal": pa.array([Decimal(2**70), None, Decimal("1.5")], pa.decimal128(38, 1)),
        "stamp": pa.array([2**60, 1, 1], pa.timestamp("s")).cast(pa.timestamp("ms"), safe=False),
        "unsigned": pa.array([2**64 - 1] * 3, pa.uint64()),
        "flag": [True, False, None],
        "nested": [[1], None, []],
        "day": pa.array([date(2023, 1, 2)] * 3),
        "pairs": pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64())),
        "object": pa.StructArray.from_arrays([as_strings([b"6f", b"", b"\xc9"])], ["$oid"]),
    }
    path = write(tmp_path / "a.parquet", {"text": ["a", "b", "c"], **columns})
    read = {name: [row["external_id"] for row in read_rows(path, id=name)] for name in columns}
    assert read["float"] == ["12", None, "12.5"] and read["uuid"] == [str(uuid.UUID(int=2**127))] * 3
    assert read["small"] == [str(uuid.UUID(int=5)), "key", ""]
    assert read["decimal"] == [str(2**70), None, "1.5"] and read["unsigned"] == ["18446744073709551615"] * 3
    assert read["flag"] == ["true", "false", None] and all(read["stamp"])
    assert read["nested"] == ["[1]", None, "[]"] and read["day"] == ["2023-01-02"] * 3
    assert read["pairs"] == ['[["a",1]]', None, "[]"]
    assert read["object"][0] == '{"$oid":"6f"}' and read["object"][2] == "<struct<$oid: string>>"


def test_text_is_found_in_structs_behind_dictionaries_and_in_every_string_type(tmp_path):
    nested = {"meta": [{"text": "one", "at": 2023}, None, {"text": None, "at": 1}], "meta.other": ["x"] * 3}
    rows = read_rows(write(tmp_path / "a.parquet", nested), text="meta.text", time="meta.at", id="meta.other")
    assert (rows[0]["text"], rows[0]["external_id"], rows[0]["error"]) == ("one", "x", None)
    assert [row["error"] for row in rows] == [None, "missing_text", "missing_text"]
    assert rows[0]["event_time"] == datetime(2023, 1, 1, tzinfo=UTC)
    for kind in (
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.large_binary(),
        pa.dictionary(pa.int8(), pa.string()),
    ):
        column = pa.array([b"a", None, b"a"] if "binary" in str(kind) else ["a", None, "a"]).cast(kind)
        rows = read_rows(write(tmp_path / "b.parquet", {"text": column}))
        assert [row["error"] or row["text"] for row in rows] == ["a", "missing_text", "a"], kind
    for column, reason in (
        (pa.nulls(2), "missing_text"),
        (pa.array([["a"], None]), "wrong_type"),
        ([1, 2], "wrong_type"),
    ):
        assert read_rows(write(tmp_path / "c.parquet", {"text": column}))[0]["error"] == reason


def test_an_id_of_several_columns_is_kept_beside_text_in_the_same_struct(tmp_path):
    meta = [{"tags": ["x", "y"], "text": "one", "n": 1}, {"tags": None, "text": "two", "n": 2}]
    path = write(tmp_path / "a.parquet", {"before": [[1], [2]], "meta": meta})
    rows = read_rows(path, text="meta.text", id="meta.tags")
    assert [(row["text"], row["external_id"]) for row in rows] == [("one", '["x","y"]'), ("two", None)]
    assert [row["text"] for row in read_rows(path, text="meta.text", id="meta")] == ["one", "two"]


def test_a_name_with_a_dot_is_a_name_before_it_is_a_path(tmp_path):
    path = write(tmp_path / "a.parquet", {"meta": [{"text": "deep"}], "meta.text": ["plain"]})
    assert [row["text"] for row in read_rows(path, text="meta.text")] == ["plain"]


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY", "PLAIN"])
def test_text_is_read_whatever_its_pages_are_encoded_in(tmp_path, encoding):
    texts = [f"page {i} of a book" * (1 + i % 7) for i in range(3000)]
    path = write(tmp_path / "a.parquet", {"text": texts}, use_dictionary=False, column_encoding={"text": encoding})
    assert [row["text"] for row in read_rows(path)] == texts


def test_damage_costs_its_row_group_and_no_other(tmp_path):
    path, schema = tmp_path / "a.parquet", pa.schema([("text", pa.string())])
    with pq.ParquetWriter(path, schema, write_page_checksum=True) as writer:
        for group in range(4):
            writer.write_table(pa.table({"text": [f"group {group} row {row}" for row in range(10)]}))
    page = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    data[page.dictionary_page_offset + page.total_compressed_size // 2] ^= 255
    rows = read_rows(put(path, bytes(data)))
    assert [row["error"] for row in rows] == [None] * 10 + ["bad_parquet"] * 10 + [None] * 20
    assert "row group 1" in rows[10]["text"]


NAMES = st.text(max_size=6) | st.sampled_from(["text", "id", "meta.text", "time"])
KINDS = [
    pa.int8(),
    pa.float64(),
    pa.bool_(),
    pa.date32(),
    pa.timestamp("ms"),
    pa.duration("us"),
    pa.time64("ns"),
    pa.null(),
]
CELLS = st.one_of(
    st.lists(st.binary(max_size=20), min_size=3, max_size=3).map(as_strings),
    st.lists(st.binary(max_size=20) | st.none(), min_size=3, max_size=3).map(lambda v: pa.array(v, pa.binary())),
    st.sampled_from(KINDS).map(lambda kind: pa.nulls(3, kind)),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=3).map(pa.array),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=3).map(lambda v: pa.array(v, pa.timestamp("us"))),
    st.lists(st.floats(), min_size=3, max_size=3).map(pa.array),
    st.lists(st.binary(max_size=9), min_size=3, max_size=3).map(
        lambda v: pa.StructArray.from_arrays([as_strings(v)], ["text"])
    ),
    st.lists(st.binary(max_size=9), min_size=3, max_size=3).map(
        lambda v: pa.ListArray.from_arrays(pa.array([0, 1, 1, 3]), as_strings(v))
    ),
)


@pytest.mark.slow
@given(st.lists(st.tuples(NAMES, CELLS), min_size=1, max_size=5), st.booleans())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_names_types_or_bytes_are_fatal(tmp_path, columns, dictionary):
    path = write(
        tmp_path / "a.parquet",
        [cells for _, cells in columns],
        [name for name, _ in columns],
        use_dictionary=dictionary,
    )
    for text in ("text", "meta.text"):
        rows = read_rows(path, text=text, time="time", id="id")
        assert len(rows) == 3 and all(row["error"] in (None, *QUARANTINE) for row in rows)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.slow
def test_a_dictionary_that_says_one_long_value_often_is_stopped_by_name(tmp_path):
    one = pa.array(["x" * (8 << 20)])
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 256, pa.int32()), one)
    path = write(tmp_path / "a.parquet", {"text": column}, compression="zstd")
    assert path.stat().st_size < 3000
    before, began = peak_mb(), time.process_time()
    rows = read_rows(path)
    assert [row["error"] for row in rows] == [None] * 16 + ["over_limit"] * 240 and "max_ratio" in rows[-1]["text"]
    assert peak_mb() - before < 300 and time.process_time() - began < 5
    assert read_rows(path, max_ratio=600_000)[16]["error"] is None


@pytest.mark.slow
@pytest.mark.parametrize("column", ["id", "time"])
def test_a_long_value_beside_the_text_that_is_said_often_is_stopped_too(tmp_path, column):
    one = pa.DictionaryArray.from_arrays(pa.array([0] * 512, pa.int32()), pa.array(["x" * (8 << 20)]))
    path = write(tmp_path / "a.parquet", {"text": ["short"] * 512, column: one}, compression="zstd")
    before = peak_mb()
    assert read_rows(path, **{column: column})[-1]["error"] == "over_limit" and peak_mb() - before < 400


@pytest.mark.slow
def test_a_long_value_that_others_begin_with_is_stopped_too(tmp_path):
    table = {"text": ["x" * (4 << 20)] * 32}
    options = {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}, "compression": "zstd"}
    path = write(tmp_path / "a.parquet", table, **options)
    assert path.stat().st_size < 100_000
    assert [row["error"] for row in read_rows(path)] == [None] * 16 + ["over_limit"] * 16


@pytest.mark.slow
def test_text_that_packs_well_is_no_bomb(tmp_path):
    """1,000-fold and more: what a window holds is bounded by its bytes, so nothing is wrong with it."""
    repeated = ["the river turns the wheel and the wheel turns the stone " * 18_000] * 48
    for dictionary in (True, False):
        path = write(tmp_path / "a.parquet", {"text": repeated}, compression="zstd", use_dictionary=dictionary)
        assert path.stat().st_size < 48_000
        assert {row["error"] for row in read_rows(path)} == ({None} if not dictionary else {None, "over_limit"})
    different = [f"Row {i}. {text}" for i, text in enumerate(repeated)]
    path = write(tmp_path / "b.parquet", {"text": different}, compression="zstd")
    assert {row["error"] for row in read_rows(path)} == {None}


def test_a_span_says_how_many_bytes_its_rows_unpack_to(tmp_path):
    texts = [np.random.default_rng(i).bytes(5000).hex() for i in range(100)]
    path = write(tmp_path / "a.parquet", {"text": texts, "n": range(100)}, row_group_size=30, use_dictionary=False)
    sizes = [bytes_of(Span(str(path), a, b - a, a, b, OLD), Fields("text")) for a, b in ((0, 100), (0, 50), (99, 100))]
    assert sizes[0] == pytest.approx(10**6, rel=0.02) and sizes[1] == pytest.approx(sizes[0] / 2, rel=0.02)
    assert sizes[2] == pytest.approx(10**4, rel=0.02)
    assert bytes_of(Span(str(path) + "x", 0, 1, 0, 1, OLD), Fields("text")) == 0


def test_rows_of_other_times_are_as_before(tmp_path):
    times = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=i) for i in range(5)]
    rows = read_rows(
        write(tmp_path / "a.parquet", {"text": ["t"] * 5, "at": [t.isoformat() for t in times]}), time="at"
    )
    assert [row["event_time"] for row in rows] == times


@pytest.mark.parametrize("group", [1000, 4095, 4097])
def test_no_batch_holds_more_rows_than_it_may(tmp_path, group):
    path = write(tmp_path / "a.parquet", {"text": [str(i) for i in range(9000)]}, row_group_size=group)
    assert [row["text"] for row in read_rows(path)] == [str(i) for i in range(9000)], "the reader counts the rows"
