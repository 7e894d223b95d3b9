"""Does a table of SQLite give each of its rows once, as what it is?"""

import json
import pickle
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from data_ops.sources.protocol import LossError
from data_ops.sources.sql.config import SqlConfig
from data_ops.sources.sql.source import SqlSource
from data_ops.sources.sql.table import MistakeError

MADE = "create table docs (id integer primary key autoincrement, body text, at, url)"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A database with one table."""
    path = tmp_path / "an odd? name.db"
    execute(path, MADE)
    return path


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def insert(path: Path, *bodies: object) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany("insert into docs (body) values (?)", [(body,) for body in bodies])


def source_of(path: Path, **keys) -> SqlSource:
    return SqlSource("live", SqlConfig(**{"url": f"sqlite:///{path}", "table": "docs", "text": "body", **keys}))


def rows_of(source: SqlSource, spans) -> list[dict]:
    return [row for span in spans for batch in source.read(span) for row in batch.to_pylist()]


def all_of(source: SqlSource, most: int = 10**6, cursor: dict | None = None) -> tuple[list[dict], dict]:
    cursor, rows = cursor or {}, []
    while True:
        found = source.discover(json.loads(json.dumps(cursor)), most)
        rows += rows_of(pickle.loads(pickle.dumps(source)), found.spans)  # noqa: S301
        cursor = found.cursor
        if found.drained:
            return rows, cursor


def test_rows_come_once_and_late_ones_behind_the_cursor_also_after_the_newest_was_deleted(file: Path):
    insert(file, *(f"text {n}" for n in range(20)))
    rows, cursor = all_of(source_of(file), 7)
    assert [row["text"] for row in rows] == [f"text {n}" for n in range(20)]
    assert [row["external_id"] for row in rows] == [str(n) for n in range(1, 21)]
    execute(file, "delete from docs where id > 15")
    insert(file, "late")
    rows, cursor = all_of(source_of(file), 7, cursor)
    assert [(row["offset"], row["text"], row["external_id"]) for row in rows] == [(20, "late", "21")]
    assert source_of(file).discover(cursor, 5).spans == []


def test_what_is_wrong_with_a_row_quarantines_only_that_one(file: Path):
    insert(file, "good", None, b"\x01\xff", "x" * 100, 7, "")
    execute(file, "insert into docs (body, at) values (cast(x'61ff' as text), 1700000000)", "update docs set url = 'u'")
    rows, _ = all_of(source_of(file, max_record_bytes=64, id="url", time="at"))
    errors = [None, "missing_text", "wrong_type", "oversized", None, None, "bad_utf8"]
    assert [row["error"] for row in rows] == errors, "a number in a column of text is a text"
    assert [row["num_bytes_read"] for row in rows] == [4, 0, 2, 100, 1, 0, 2]
    assert {row["external_id"] for row in rows} == {"u"} and rows[-1]["text"] == "a\\xff"


def test_times_are_understood_as_in_files(file: Path):
    insert(file, "a", "b", "c", "d")
    execute(
        file,
        "update docs set at = 1700000000 where id = 1",
        "update docs set at = '2023-05-06 07:08' where id = 2",
        "update docs set at = 'soon' where id = 3",
    )
    rows, _ = all_of(source_of(file, time="at"))
    assert [row["event_time"] and row["event_time"].isoformat()[:16] for row in rows] == [
        "2023-11-14T22:13",
        "2023-05-06T07:08",
        None,
        None,
    ]
    assert [row["time_note"] for row in rows] == [None, None, "not_understood", None]


def test_rows_that_went_before_they_were_read_leave_places_without_a_document(file: Path):
    insert(file, *(str(n) for n in range(10)))
    source = source_of(file)
    (span,) = source.discover({}, 100).spans
    execute(file, "delete from docs where id in (3, 10)")
    rows = rows_of(source, [span])
    assert [row["text"] for row in rows] == ["0", "1", "3", "4", "5", "6", "7", "8", "", ""]
    assert [row["error"] for row in rows] == [None] * 8 + ["no_record"] * 2
    assert [row["offset"] for row in rows] == list(range(10))


def test_a_part_of_a_span_is_read_as_it_is_within_the_whole(file: Path):
    insert(file, *(str(n) for n in range(30)))
    source = source_of(file)
    (span,) = source.discover(source.discover({}, 5).cursor, 100).spans
    for first, count in [(5, 25), (29, 1), (11, 3)]:
        part = replace(span, first_record=first, num_records=count, start=first, end=first + count)
        assert [(row["offset"], row["text"]) for row in rows_of(source, [part])] == [
            (n, str(n)) for n in range(first, first + count)
        ]


def test_numbers_that_begin_anew_stop_until_the_loss_is_accepted_and_written_down(file: Path):
    insert(file, *"abcdefgh")
    cursor = source_of(file).discover({}, 100).cursor
    execute(file, "drop table docs", MADE)
    insert(file, "new")
    with pytest.raises(
        LossError, match=r"^sources.live: the numbers of docs began anew after 8 was reached; set .*on_loss=co"
    ):
        source_of(file).discover(cursor, 100)
    found = source_of(file, on_loss="continue").discover(cursor, 100)
    assert [(span.loss, span.num_records) for span in found.spans] == [("numbered_anew", 0), ("", 1)]
    assert [row["text"] for row in rows_of(source_of(file), found.spans)] == ["new"]
    assert source_of(file).discover(found.cursor, 100).spans == []


@pytest.mark.parametrize(
    ("made", "keys", "sentence"),
    [
        ("create table docs (id integer primary key, body text)", {}, "docs has no INTEGER PRIMARY KEY AUTOINCREMENT"),
        (
            "create table docs (id integer primary key, body text default 'autoincrement' /* autoincrement */)",
            {},
            "no INT",
        ),
        (MADE, {"text": "boddy"}, "docs has no column 'boddy' for text; it has id, body, at, url; did you mean body?"),
        (MADE, {"cursor": "at"}, "cursor=at is not the AUTOINCREMENT key id; leave it out"),
        (MADE, {"table": "dosc"}, "the database has no such table that we may see; did you mean docs?"),
        (None, {}, "unable to open database file; correct url"),
    ],
)
def test_a_table_that_cannot_be_read_exactly_is_one_sentence(tmp_path: Path, made: str, keys: dict, sentence: str):
    path = tmp_path / "docs.db"
    if made:
        execute(path, made)
    told = source_of(path, **keys).missing() or ""
    assert sentence in told and told.startswith("sources.live") and "\n" not in told


def test_columns_that_change_under_us_stop_in_a_sentence_instead_of_quarantine(file: Path):
    insert(file, "a")
    source = source_of(file)
    spans = source.discover({}, 9).spans
    execute(file, "alter table docs rename column body to content")
    for act in (lambda: source.discover({}, 9), lambda: rows_of(source, spans)):
        with pytest.raises(MistakeError, match=r"^sources.live: docs has no column 'body' for text"):
            act()


def test_a_table_that_is_not_there_may_be_waited_for(tmp_path: Path):
    path = tmp_path / "docs.db"
    execute(path, "create table other (id)")
    waiting = source_of(path, wait=True)
    found = waiting.discover({}, 9)
    assert waiting.missing() is None and (found.spans, found.drained) == ([], True)
    assert "there is no such table now" in found.warnings[0]
    execute(path, MADE)
    insert(path, "late")
    assert [row["text"] for row in all_of(waiting)[0]] == ["late"]


def test_names_are_quoted_whatever_they_hold(tmp_path: Path):
    path = tmp_path / "docs.db"
    odd = 'a"; drop table x; --'
    spelled = odd.replace('"', '""')
    execute(path, f'create table "{spelled}" ("{spelled} n" integer primary key autoincrement, "k0" text)')
    execute(path, f"""insert into "{spelled}" (k0) values ('fine')""")
    config = {"table": f'"{spelled}"', "text": "k0", "id": f"{odd} n"}
    assert [row["text"] for row in all_of(source_of(path, **config))[0]] == ["fine"]
