"""Does a table of PostgreSQL give each of its rows once, whoever writes, rolls back or dies meanwhile?"""

import threading
import time
from datetime import UTC, datetime
from random import Random

import pytest

from data_ops.sources.protocol import LossError
from data_ops.sources.sql.holding import STALLED_S
from tests.data_ops.sources.test_contract import delivered
from tests.support.sql.postgres import Postgres
from tests.support.sql.reading import INDEX, MADE, Clock, all_of, do, look, rows_of, source_of

pytestmark = pytest.mark.slow


def test_a_table_keeps_the_promises_of_every_source(server: Postgres, url: str):
    do(server, url, MADE, INDEX, "insert into docs (body) select 'line ' || n from generate_series(1, 5003) n")
    source = source_of(url)
    whole = delivered(source, 10**6)
    assert len({row["text"] for row in whole}) == len(whole) == 5003 and delivered(source, 1700) == whole
    spans = look(source).spans
    assert [span.num_records for span in spans] == [5000, 3] and source.missing() is None
    assert sum(map(source.size_of, spans)) == sum(row["num_bytes_read"] for row in whole)


def test_a_row_that_was_written_first_and_committed_last_is_not_passed_by(server: Postgres, url: str):
    do(server, url, MADE, INDEX)
    source, name = source_of(url), url.rpartition("/")[2]
    with server.connect(name, autocommit=False) as slow, slow.cursor() as writer:
        writer.execute("insert into docs (body) values ('slow')")
        do(server, url, "insert into docs (body) values ('quick')")
        found = source.discover({}, 9)
        assert (found.spans, found.num_behind) == ([], 0), "quick waits for slow"
        slow.commit()
    rows, cursor = all_of(source, 1, found.cursor)
    assert [row["text"] for row in rows] == ["slow", "quick"]
    with server.connect(name, autocommit=False) as undone, undone.cursor() as writer:
        writer.execute("insert into docs (body) values ('undone')")
        undone.rollback()
    assert look(source, cursor).spans == []


def test_an_ingest_that_ends_by_itself_waits_for_all_that_was_committed_when_it_began(server: Postgres, url: str):
    do(server, url, MADE, INDEX, "create table other (n int)")
    source, name = source_of(url), url.rpartition("/")[2]
    with server.connect(name, autocommit=False) as slow, slow.cursor() as writer:
        writer.execute("insert into other values (1)")
        assert look(source).drained, "nothing that is committed waits"
        do(server, url, "insert into docs (body) values ('before')")
        source = source_of(url)
        assert [source.discover({}, 9).drained for _ in range(3)] == [False] * 3, "a row is there and held back"
        slow.commit()
    with server.connect(name, autocommit=False) as later, later.cursor() as writer:
        writer.execute("insert into other values (2)")
        do(server, url, "insert into docs (body) values ('since')")
        rows, _ = all_of(source)
        assert [row["text"] for row in rows] == ["before"], "what came since may wait for the next ingest"
        later.rollback()


def test_a_prepared_transaction_holds_rows_back_and_is_told_and_not_waited_for_without_end(server: Postgres, url: str):
    do(server, url, MADE, INDEX)
    clock = Clock()
    with server.connect(url.rpartition("/")[2]) as connection, connection.cursor() as writer:
        for statement in ("begin", "insert into docs (body) values ('held')", "prepare transaction 'left over'"):
            writer.execute(statement)
        do(server, url, "insert into docs (body) values ('waits')")
        source = source_of(url, clock)
        found = source.discover({}, 9)
        assert (found.spans, found.drained, found.warnings) == ([], False, [])
        clock.now_s = STALLED_S + 1
        found = source.discover({}, 9)
        assert (found.spans, found.drained) == ([], True)
        assert "has been open for more than 60 s and holds back rows of docs, which come once" in found.warnings[0]
        writer.execute("rollback prepared 'left over'")
    rows, cursor = all_of(source)
    assert [row["text"] for row in rows] == ["waits"] and look(source, cursor).warnings == []


def test_a_row_whose_commit_a_crash_can_undo_is_not_read_before_it_is_on_disk(server: Postgres, url: str):
    """Else the cursor passes a number that the server gives again, and passes by the row that comes under it."""
    name, newest = url.rpartition("/")[2], "select x::text from docs order by id desc limit 1"
    do(server, url, MADE, INDEX, "insert into docs (body) values ('on disk')")
    before, cursor = all_of(source_of(url))
    do(server, url, f"alter database {name} set synchronous_commit = off")
    with server.flushes_nothing():
        do(server, url, "insert into docs (body) values ('undone by the crash')")
        given, source = server.asked(newest, name), source_of(url)
        found = source.discover(cursor, 9)
        assert (found.spans, found.drained) == ([], False), "it is seen, and may still go"
    do(server, url, "insert into docs (body) values ('under the same number')")
    assert server.asked(newest, name) == given
    rows, _ = all_of(source, cursor=found.cursor)
    assert [row["text"] for row in before + rows] == ["on disk", "under the same number"]


def test_a_row_that_is_written_anew_comes_anew_and_leaves_its_planned_place_empty(server: Postgres, url: str):
    touch = """create function touch() returns trigger language plpgsql as
    'begin new.x = pg_current_xact_id(); return new; end'"""
    trigger = "create trigger touch before update on docs for each row execute function touch()"
    do(server, url, MADE, INDEX, touch, trigger, "insert into docs (body) values ('a'), ('b'), ('c')")
    source = source_of(url)
    found = look(source)
    do(server, url, "update docs set body = 'b2' where body = 'b'", "delete from docs where body = 'c'")
    rows = rows_of(source, found.spans)
    assert [(row["offset"], row["text"], row["error"]) for row in rows] == [
        (0, "a", None),
        (1, "", "no_record"),
        (2, "", "no_record"),
    ]
    rows, cursor = all_of(source, cursor=found.cursor)
    assert [(row["offset"], row["text"], row["external_id"]) for row in rows] == [(3, "b2", "2")]
    do(server, url, "truncate docs restart identity", "insert into docs (body) values ('new 1')")
    rows, _ = all_of(source, cursor=cursor)
    assert [(row["text"], row["external_id"]) for row in rows] == [("new 1", "1")], "numbers may begin anew beside xid8"


def test_rows_become_records_as_in_files_whatever_their_columns_hold(server: Postgres, url: str):
    do(
        server,
        url,
        """create table "Odd ""table" ("group" uuid, b int, "body text" varchar(500), at timestamp, said text, "X" xid8
        not null default pg_current_xact_id(), primary key ("group", b))""",
        """insert into "Odd ""table" values
        ('00000000-0000-0000-0000-000000000005', 7, 'plain', '2023-05-06 07:08:09.123456', '1700000000'),
        ('00000000-0000-0000-0000-000000000006', 7, null, 'infinity', 'soon'),
        ('00000000-0000-0000-0000-000000000007', 7, repeat('ä', 100), '0044-01-01 BC', null)""",
    )
    keys = {"table": '"Odd ""table"', "text": "body text", "max_record_bytes": 64}
    rows, _ = all_of(source_of(url, **keys, time="at"))
    assert [row["error"] for row in rows] == [None, "missing_text", "oversized"]
    assert [row["external_id"] for row in rows] == [f"00000000-0000-0000-0000-00000000000{n},7" for n in (5, 6, 7)]
    assert rows[0]["event_time"] == datetime(2023, 5, 6, 7, 8, 9, 123456, UTC)
    assert [row["time_note"] for row in rows] == [None, "not_understood", "not_understood"]
    assert [row["num_bytes_read"] for row in rows] == [5, 0, 200] and len(rows[2]["text"]) <= 200
    rows, _ = all_of(source_of(url, **keys, time="said", id="b"))
    assert rows[0]["event_time"].timestamp() == 1_700_000_000 and {row["external_id"] for row in rows} == {"7"}
    assert [row["time_note"] for row in rows] == [None, "not_understood", None]
    assert "no index holds" in source_of(url, **keys).discover({}, 1).warnings[0]


def test_without_such_a_column_a_lag_is_demanded_and_a_row_waits_for_it_and_for_open_transactions(
    server: Postgres, url: str
):
    clock = Clock()
    do(server, url, "create table docs (id bigserial primary key, body text)")
    assert "no column of type xid8" in (source_of(url).missing() or "")
    assert "set lag to how long the longest one takes" in (source_of(url, cursor="id").missing() or "")
    source, name = source_of(url, clock, cursor="id", lag=5), url.rpartition("/")[2]
    assert source.discover({}, 9).drained
    with server.connect(name, autocommit=False) as slow, slow.cursor() as writer:
        writer.execute("insert into docs (body) values ('slow')")
        do(server, url, "insert into docs (body) values ('quick')")
        seen = []
        for clock.now_s in (1.0, 6.1, 60.0):
            found = source.discover({}, 9)
            seen.append((len(found.spans), found.drained))
        assert seen == [(0, False)] * 3 and "may be passed by" in found.warnings[0]
        slow.commit()
    rows, cursor = all_of(source)
    assert [row["text"] for row in rows] == ["slow", "quick"]
    do(server, url, "truncate docs restart identity", "insert into docs (body) values ('anew')")
    with pytest.raises(LossError, match="the numbers of docs began anew after 2 was reached"):
        source.discover(cursor, 9)


def test_a_row_that_comes_later_than_the_lag_allows_is_told_and_not_taken_for_another(server: Postgres, url: str):
    do(server, url, "create table docs (id int primary key, body text)", "insert into docs values (1, 'a'), (3, 'c')")
    keys = {"cursor": "id", "lag": 0.01}
    source = source_of(url, **keys)
    while not (found := source.discover({}, 9)).spans:
        time.sleep(0.02)
    do(server, url, "insert into docs values (2, 'late')")
    with pytest.raises(LossError, match=r"rows of docs were committed among records 0 to 1 after .* raise lag"):
        rows_of(source, found.spans)
    assert [row["text"] for row in rows_of(source_of(url, **keys, on_loss="continue"), found.spans)] == ["a", "late"]


def test_a_table_that_was_made_again_or_restored_stops_until_the_loss_is_accepted(server: Postgres, url: str):
    do(server, url, MADE, INDEX, "insert into docs (body) values ('a'), ('b')")
    cursor = look(source_of(url)).cursor
    do(server, url, "drop table docs", MADE, INDEX, "insert into docs (body) values ('c')")
    with pytest.raises(
        LossError, match=r"docs was deleted and made again after \d+ / 2 was reached; set .*on_loss=cont"
    ):
        source_of(url).discover(cursor, 9)
    found = look(source_of(url, on_loss="continue"), cursor)
    assert [(span.loss, span.num_records, span.first_record) for span in found.spans] == [
        ("created_again", 0, 2),
        ("", 1, 2),
    ]
    system, timeline, table, key, count = found.cursor["docs"]
    for other, sentence in (
        (["1", timeline, table, key, count], "docs is in another database than it was so far"),
        ([system, 9, table, key, count], "another server took over docs"),
        ([system, timeline, table, ["99999999", "1"], count], "the numbers of docs began anew after 99999999 / 1"),
    ):
        with pytest.raises(LossError, match=sentence):
            source_of(url).discover({"docs": other}, 9)


def test_texts_of_a_database_without_an_encoding_are_checked(server: Postgres):
    server.execute("create database raw encoding 'SQL_ASCII' template template0 lc_collate 'C' lc_ctype 'C'")
    url = server.url("raw")
    do(server, url, MADE, "insert into docs (body) values ('good'), (convert_from('\\x61ff', 'SQL_ASCII'))")
    rows, _ = all_of(source_of(url))
    assert [(row["text"], row["error"]) for row in rows] == [("good", None), ("a\\\\xff", "bad_utf8")]


@pytest.mark.long  # seconds of writing; the test of a commit that is not on disk kills the server in the fast suite
@pytest.mark.parametrize("commit", ["on", "off"])
def test_a_server_that_is_killed_while_a_table_is_read_loses_and_repeats_nothing(
    server: Postgres, url: str, commit: str
):
    name, random = url.rpartition("/")[2], Random(7)
    do(server, url, MADE, INDEX, f"alter database {name} set synchronous_commit = {commit}")
    stop, kept = threading.Event(), set()

    def write(number: int) -> None:
        count = 0
        while not stop.is_set():
            try:
                with server.connect(name, autocommit=False) as connection, connection.cursor() as writer:
                    while not stop.is_set():
                        bodies = [f"{number}:{count + n}" for n in range(random.randint(1, 4))]
                        for body in bodies:
                            writer.execute("insert into docs (body) values ($1)", parameters=(body,))
                        count += len(bodies)
                        time.sleep(random.choice([0, 0.002, 0.03]))
                        if random.random() < 0.2:
                            connection.rollback()
                        else:
                            connection.commit()
                            kept.update(bodies)
            except Exception:  # the server was killed: whether the last commit was one is not known
                time.sleep(0.1)

    writers = [threading.Thread(target=write, args=(number,), daemon=True) for number in range(3)]
    for writer in writers:
        writer.start()
    starter = threading.Thread(target=server.start)
    source, cursor, rows, num_before = source_of(url), {}, [], 0
    while len(rows) < 2 * max(num_before, 60):
        if len(rows) >= 60 and not num_before:
            server.kill()
            starter.start()
            num_before = len(rows)
        found = source.discover(cursor, 50)
        while True:
            try:
                rows += rows_of(source, found.spans)
                break
            except OSError:  # read again, as a window is
                time.sleep(0.1)
        cursor = found.cursor
    starter.join()
    stop.set()
    for writer in writers:
        writer.join()
    rows += all_of(source, cursor=cursor)[0]
    texts = [row["text"] for row in rows if row["error"] is None]
    with server.connect(name) as connection, connection.cursor() as reader:
        reader.execute("select body from docs")
        there = {body for (body,) in reader.fetchall()}
    assert len(set(texts)) == len(texts) and there == set(texts) and len(there) > 50
    assert commit == "off" or kept <= there
