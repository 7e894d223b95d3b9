"""Is every row of a comma or tab separated file one document, whatever stands in its quotes, however it grows?"""

import csv
import gzip
import io

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from data_ops.sources.files.config import FilesConfig
from data_ops.sources.kinds import open_source
from tests.support.files.reader import Reader, grow, texts
from tests.support.files.rows import put, read_rows, read_with_warnings

CELL = st.lists(st.sampled_from(["a", "é", ",", ";", "\t", '"', "\n", "\r\n", " ", "'"]), max_size=6).map("".join)


def table(rows, delimiter=",", **options) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, **options).writerows(rows)
    return out.getvalue().encode()


def in_windows(path, size, **config):
    source, cursor, rows = open_source("t", FilesConfig(path=str(path), settle=0, **config)), {}, []
    while (found := source.discover(cursor, size)).spans:
        cursor = found.cursor
        rows += [row for span in found.spans for batch in source.read(span) for row in batch.to_pylist()]
    return rows


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".csv", ";"), (".tsv", "\t"), (".csv.gz", ",")])
def test_rows_have_their_text_time_and_id(tmp_path, suffix, delimiter):
    rows = [
        ("id", "text", "at"),
        (1, 'First, with a "quote"\nand a line; more\tof it', "2023-01-02"),
        (2, "Second", ""),
    ]
    packed = gzip.compress if suffix.endswith("gz") else bytes
    path = put(tmp_path / f"a{suffix}", packed(table(rows, delimiter)))
    read = read_rows(path, id="id", time="at")
    assert [(row["external_id"], row["text"]) for row in read] == [(str(row[0]), row[1]) for row in rows[1:]]
    assert [str(row["event_time"])[:10] for row in read] == ["2023-01-02", "None"] and [
        row["offset"] for row in read
    ] == [0, 1]


@pytest.mark.slow
@given(st.lists(st.tuples(CELL, CELL), max_size=8), st.sampled_from([",", "\t", ";"]), st.integers(1, 4), st.booleans())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example([("", " ")], "\t", 1, False)  # white space alone, and still two cells
def test_what_the_csv_module_wrote_comes_back_in_any_windows(tmp_path, rows, delimiter, size, everything):
    data = table([("text", "id"), *rows], delimiter, quoting=csv.QUOTE_ALL if everything else csv.QUOTE_MINIMAL)
    read = in_windows(put(tmp_path / ("a.tsv" if delimiter == "\t" else "a.csv"), data), size, id="id")
    assert [(row["text"], row["external_id"] or "") for row in read] == rows
    assert [row["offset"] for row in read] == list(range(len(rows)))


def test_rows_that_are_appended_are_new_and_the_header_is_none(tmp_path):
    path, config = tmp_path / "a.csv", FilesConfig(path=str(tmp_path / "a.csv"), settle=0)
    source, cursor, texts = open_source("t", config), {}, []
    content = b""
    for more in (b"text\n", b"one\n", b'"two\n', b'lines"\nthree\n'):
        content += more
        put(path, content, 1_600_000_000 + len(content))
        source = open_source("t", config.model_copy(update={"settle": 3600 if content.endswith(b"two\n") else 0}))
        found = source.discover(cursor, 100)
        cursor = found.cursor
        texts += [row["text"] for span in found.spans for batch in source.read(span) for row in batch.to_pylist()]
        if content.endswith(b"two\n"):
            texts = [text for text in texts if text == "one"]
            cursor = source.discover({}, 1).cursor  # as a poll that saw the open quote as unfinished
    assert texts == ["one", "two\nlines", "three"]


@pytest.mark.parametrize(
    "data",
    [
        b"sep=;\r\ntext;id\r\na, b;1\r\n",
        b"\n \r\n\xef\xbb\xbftext,id\n"[3:] + b'"a, b",1\n',
        b'"id, or, number";text\n1;a, b\n',
        (",".join(f"column_{n}" for n in range(8000)) + ",text\n" + "," * 8000 + '"a, b"\n').encode(),
        b'caf\xe9;text\n1;"a, b"\n',
    ],
    ids=["Excel names the separator", "blank lines", "separators in quotes", "8001 columns", "a name in Latin-1"],
)
def test_a_header_is_found_whatever_stands_in_or_before_it(tmp_path, data):
    assert [row["error"] or row["text"] for row in read_rows(put(tmp_path / "a.csv", data))] == ["a, b"]


def test_a_header_that_is_no_row_is_said_of_every_row(tmp_path):
    path = put(tmp_path / "a.csv", b'"te"xt,id\na,b\n')
    assert {row["error"] for row in read_rows(path)} == {"bad_row"}
    rows, (warning,) = read_with_warnings(put(tmp_path / "b.csv", b"text,id"))
    assert rows == [] and "ends inside a line" in warning, "a header is no record"


@pytest.mark.parametrize("size", [3, 1000])
def test_a_quote_that_nobody_closed_swallows_no_more_than_a_record_may_hold(tmp_path, size):
    rows = [f"row {number},{number}\n" for number in range(400)]
    path = put(tmp_path / "a.csv", ("text,id\n" + 'good,1\n"never closed,2\n' + "".join(rows)).encode())
    read = in_windows(path, size, max_record_bytes=256)
    assert [row["error"] for row in read[:3]] == [None, "oversized", None]
    assert [row["text"] for row in read[2:]] == [row.partition(",")[0] for row in rows[-len(read) + 2 :]]
    assert len(read) > 350 and [row["offset"] for row in read] == list(range(len(read)))


@pytest.mark.parametrize(
    ("name", "config", "half", "rest"),
    [
        ("a.csv", {}, b"text,id\none,1\nlong te", b"xt,2\nthree,3\n"),
        ("a.csv", {}, b'text,id\none,1\n"long', b' text",2\nthree,3\n'),
        ("a.txt", {"format": "lines"}, b"one\nlong te", b"xt\nthree\n"),
    ],
)
def test_a_row_that_stood_half_is_read_again_when_it_is_whole(tmp_path, name, config, half, rest):
    reader = Reader(put(tmp_path / name, half), settle=5, **config)
    for reader.now in (0, 10, 20):
        reader.poll()
    before = len(reader.rows)
    assert before == 2
    grow(tmp_path / name, rest[:-9])
    reader.poll()
    grow(tmp_path / name, rest[-9:])
    assert [row["text"] for row in reader.poll()][-2:] == ["long text", "three"]
    assert reader.poll() == [] and reader.untaken == []


def test_a_last_row_without_a_newline_is_not_read_twice(tmp_path):
    reader = Reader(put(tmp_path / "a.csv", b"text,id\none,1"))
    assert texts(reader.poll()) == ["one"]
    grow(tmp_path / "a.csv", b"\r\ntwo,2\n")
    assert texts(reader.poll()) == ["two"] and reader.untaken == []


def test_bad_rows_cost_only_themselves(tmp_path):
    data = b'id,text\n1,good\n2\n3,a,b\n4,caf\xe9\n5,5" disk\n\n6,"open quote\n7,rest\n'
    read = read_rows(put(tmp_path / "a.csv", data), id="id")
    reasons = ["good", "bad_row", "bad_row", "bad_utf8", '5" disk', "", "bad_row"]
    assert [row["error"] or row["text"] for row in read] == reasons
    assert {row["error"] for row in read_rows(put(tmp_path / "b.csv", b"text,text\na,b\n"))} == {"duplicate_column"}
    assert {row["error"] for row in read_rows(put(tmp_path / "c.csv", b"body,id\na,b\n"))} == {"missing_text"}
