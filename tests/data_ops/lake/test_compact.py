"""Does compaction change nothing but the time to read, whoever writes, reads, forgets or is killed beside it?"""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.table import TableOptimizer

from cluster.storage.store import Store
from data_ops.lake import compact as compact_module
from data_ops.lake import tables as tables_module
from data_ops.lake.compact import MANY, TARGETS, compact, target_of
from data_ops.lake.erase import clean, erase, unerased
from data_ops.lake.lake import Lake
from data_ops.lake.progress import Reach
from data_ops.lake.schemas import SCHEMAS, STORED_DOCUMENT_SCHEMA, UPKEEP, properties
from ray_jobs.commands.forget import forget
from tests.cluster.storage.test_store import s3, s3_settings, store  # noqa: F401
from tests.data_ops.lake.test_lake import note_of, places
from tests.ray_jobs.commands.test_forget import (
    FATES,
    GONE,
    assert_gone,
    assert_hidden,
    config_of,
    fill,
    id_of,
    ids_of,
    shown,
)
from tests.support.lakes import add_window, fill_lake, made_once, make_documents, make_lake, window_of
from tests.support.root import ROOT

ROWS = 5  # a window


@pytest.fixture
def eager(monkeypatch):
    """Four small files are many; nothing is compacted but by the test."""
    monkeypatch.setattr(compact_module, "MANY", 4)
    monkeypatch.setattr(tables_module, "LOOK_EVERY", 10**9)


def compact_table(table, name):
    return compact(table, name, properties(name))


def files(lake, name="documents"):
    return len(lake.table(name).file_uris())


def fill_windows(lake, windows):
    for number in range(lake.last_window() + 1, windows):
        add_window(lake, make_documents(number, ["kept"] * ROWS, ROWS * number))


@made_once
def lake_of(folder, windows):
    fill_windows(make_lake(folder), windows)


def expected(windows):
    return [(n, p) for n in range(windows) for p in range(ROWS)]


def test_files_are_written_together_once_there_are_many_small_ones():
    small, middle = TARGETS[0] // 100, TARGETS[0]
    assert target_of([small] * (MANY - 1)) is None
    assert target_of([small] * MANY + [middle] * 5) == TARGETS[0]
    assert target_of([middle] * MANY) == TARGETS[1]
    assert target_of([small] * (MANY // 2) + [middle] * (MANY // 2)) == TARGETS[1]
    assert target_of([TARGETS[1]] * 1000) is None, "what is as large as it gets is left alone"


@pytest.mark.slow
def test_a_store_compacts_itself_as_it_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr(compact_module, "MANY", 4)
    monkeypatch.setattr(tables_module, "LOOK_EVERY", 4)
    lake = make_lake(tmp_path)
    for number in range(12):
        add_window(lake, make_documents(number, ["kept"] * ROWS, ROWS * number))
        lake.add_round("r", number, {"plan": json.dumps({"n": number}), "fresh": [], "replay": [], "shed": []})
        lake.add_ledger("r", note_of(number))
        lake.forget(ids_of([number]))
        for thread in [t for t in threading.enumerate() if t.name.startswith("compact-")]:
            thread.join()
    assert {name: files(lake, name) < 12 for name in SCHEMAS} == dict.fromkeys(SCHEMAS, True)
    assert places(lake.documents(0, 99)) == expected(12)
    assert [w.window for w in lake.windows()[0]] == list(range(12))
    assert lake.rounds("r")["plan"].to_pylist() == [json.dumps({"n": n}) for n in range(12)]
    assert lake.ledger("r")["step"].to_pylist() == list(range(12))
    assert len(lake.forgotten()) == 12


def test_every_column_of_every_row_is_the_same_afterwards(tmp_path, eager):
    lake = make_lake(tmp_path)
    fill_lake(lake, [FATES] * 6)
    before = lake.documents(0, 9)
    assert compact_table(lake.table("documents"), "documents")
    assert files(lake) == 1
    assert lake.documents(0, 9).equals(before)
    assert lake.documents(2, 3, ["text"], ["held_out"]).num_rows == 2, "texts can be filtered still"


@pytest.mark.slow
def test_tables_in_buckets_are_compacted_too(store, eager):  # noqa: F811
    lake = Lake(store)
    lake.create()
    fill_windows(lake, 5)
    assert compact_table(lake.table("documents"), "documents")
    assert files(lake) == 1
    assert places(lake.documents(0, 9)) == expected(5)


@pytest.mark.slow
def test_one_window_is_read_from_few_files_and_few_rows(tmp_path, eager, monkeypatch):
    monkeypatch.setattr(compact_module, "TARGETS", (15_000,))
    monkeypatch.setitem(compact_module.ROWS_TOGETHER, "documents", ROWS)
    lake = make_lake(tmp_path)
    for windows in (8, 16, 24):
        fill_windows(lake, windows)
        compact_table(lake.table("documents"), "documents")
    bounds = pa.table(lake.table("documents").get_add_actions(flatten=True))
    spans = sorted(zip(bounds["min.window"].to_pylist(), bounds["max.window"].to_pylist(), strict=True))
    assert 1 < len(spans) < 24
    assert all(low > high for (_, high), (low, _) in itertools.pairwise(spans)), "no window is in two files"
    first = bounds["path"][bounds["min.window"].to_pylist().index(0)].as_py()
    (tmp_path / "documents" / first).write_bytes(b"damaged")
    assert places(lake.documents(20, 20)) == [(20, p) for p in range(ROWS)]


@pytest.mark.slow
@pytest.mark.parametrize("compacted", [False, True])
def test_a_long_log_is_cut_into_stretches_by_rows_whatever_files_hold_them(tmp_path, eager, compacted):
    lake = make_lake(tmp_path)
    fill_lake(lake, [["kept"] * size for size in (1, 1, 9, 1, 1, 1, 1, 5)])
    if compacted:
        assert compact_table(lake.table("documents"), "documents")
    for rows in (1, 3, 6, 100):
        cut = lake.stretches(1, 7, rows)
        assert [n for first, last in cut for n in range(first, last + 1)] == list(range(1, 8)), "each window once"
        assert len(cut) == 1 if rows == 100 else len(cut) > 1
    assert compacted or lake.stretches(0, 7, 6) == [(0, 1), (2, 2), (3, 6), (7, 7)]
    assert lake.stretches(3, 3, 1) == [(3, 3)]
    assert lake.stretches(4, 3, 1) == []
    assert Lake(Store.open(str(tmp_path / "none"))).stretches(0, 5, 1) == [(0, 5)]


def test_ingest_goes_on_behind_the_last_window_with_every_cursor(tmp_path, eager):
    lake, whole = make_lake(tmp_path), Reach()
    for number, partition in enumerate("abacab"):
        add_window(lake, make_documents(number, ["kept"] * ROWS, ROWS * number, partition=partition))
    assert compact_table(lake.table("windows"), "windows")
    plan = window_of(make_documents(6, ["kept"], 99))
    lake.plan_window(plan)
    assert whole.catch_up(lake).window == 6
    assert (whole.next_window, whole.cursors) == (6, {"mine": {"a": [25], "b": [30], "c": [20]}})
    later = Reach(4, {"mine": {"a": [15], "b": [10], "c": [20]}})
    later.catch_up(lake)
    assert (later.next_window, later.cursors) == (6, whole.cursors)


@pytest.mark.slow
def test_what_was_written_once_is_still_known_when_the_log_is_summed_up_and_cleaned(tmp_path, eager):
    lake = lake_of(tmp_path, 8)
    manifest = {"plan": "{}", "fresh": [], "replay": [], "shed": []}
    for number in range(5):
        assert lake.add_round("r", number, manifest)
        assert lake.add_ledger("r", note_of(number))
    for name in ("documents", "windows", "rounds", "ledger"):
        assert compact_table(lake.table(name), name)
        table = lake.table(name)
        table.alter.set_table_properties({"delta.logRetentionDuration": "interval 0 seconds"})
        table.create_checkpoint()
        table.cleanup_metadata()
        assert not (tmp_path / name / "_delta_log" / f"{1:020d}.json").exists()
    documents = make_documents(7, ["kept"] * ROWS, 7 * ROWS)
    assert not lake.plan_window(window_of(documents))
    assert not lake.commit_window(window_of(documents), documents)
    assert not lake.add_round("r", 4, manifest)
    assert not lake.add_ledger("r", note_of(4))
    assert (lake.last_window(), lake.num_rounds("r")) == (7, 5)
    assert places(lake.documents(0, 9)) == expected(8)


@pytest.mark.slow
def test_the_log_does_not_grow_with_the_appends(tmp_path, eager, monkeypatch):
    monkeypatch.setitem(UPKEEP, "delta.checkpointInterval", "4")
    monkeypatch.setitem(UPKEEP, "delta.logRetentionDuration", "interval 0 seconds")
    lake = lake_of(tmp_path, 20)
    assert len(list((tmp_path / "windows" / "_delta_log").glob("*.json"))) < 12, "of 41"
    assert [w.window for w in lake.windows()[0]] == list(range(20))


def test_a_reader_of_an_older_version_finds_its_files(tmp_path, eager):
    lake = lake_of(tmp_path, 6)
    reading = lake.table("documents").to_pyarrow_dataset()
    assert compact_table(lake.table("documents"), "documents")
    assert reading.to_table().num_rows == 6 * ROWS
    table = lake.table("documents")
    assert len(table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=True)) == 6, "they wait a day"
    assert table.vacuum(dry_run=True) == []


@pytest.mark.slow
def test_a_file_of_a_killed_writer_goes_when_it_is_a_day_old_and_not_before(tmp_path, eager, monkeypatch):
    monkeypatch.setattr(compact_module, "TARGETS", (1 << 30,))
    lake = lake_of(tmp_path, 4)
    orphan = tmp_path / "documents" / "part-of-nobody.parquet"
    orphan.write_bytes(b"rows of a window that was not committed, or soon will be")
    assert compact_table(lake.table("documents"), "documents")
    assert orphan.exists()
    two_days_ago = time.time() - 2 * 86400
    os.utime(orphan, (two_days_ago, two_days_ago))
    fill_windows(lake, 8)
    assert compact_table(lake.table("documents"), "documents")
    assert not orphan.exists()
    assert places(lake.documents(0, 9)) == expected(8)


@pytest.mark.slow
def test_an_append_and_a_compaction_at_the_same_time_both_count(tmp_path, eager):
    lake = lake_of(tmp_path, 4)
    done = threading.Event()

    def compact_for_ever():
        while not done.is_set():
            compact_table(Lake(lake.store).table("documents"), "documents")

    thread = threading.Thread(target=compact_for_ever)
    thread.start()
    try:
        fill_windows(lake, 20)
    finally:
        done.set()
        thread.join()
    assert places(lake.documents(0, 99)) == expected(20)
    assert files(lake) < 20


def test_of_two_compactions_of_the_same_files_one_is_refused(tmp_path, eager, caplog, monkeypatch):
    """deltalake lets both commit, and every row is there twice, unless each first changes a property of the table."""
    lake = lake_of(tmp_path, 6)
    real, turns = TableOptimizer.compact, []

    def while_another_does(self, **named):
        turns.append(len(turns))
        if len(turns) == 1:  # the first one is about to read; the second one now does all of its work
            assert compact_table(lake.table("documents"), "documents")
        return real(self, **named)

    monkeypatch.setattr(TableOptimizer, "compact", while_another_does)
    assert not compact_table(lake.table("documents"), "documents")
    assert turns == [0, 1]
    assert caplog.records == [], "that is no news"
    assert places(lake.documents(0, 9)) == expected(6)


def test_a_compaction_that_read_before_another_is_refused_whenever_it_commits(tmp_path, eager):
    lake = lake_of(tmp_path, 6)
    late = lake.table("documents")
    assert compact_table(lake.table("documents"), "documents")
    with pytest.raises(CommitFailedError, match="Metadata changed"):
        late.optimize.compact()
    assert places(lake.documents(0, 9)) == expected(6)


@pytest.mark.parametrize("call", ["create_checkpoint", "get_add_actions"])
@pytest.mark.parametrize("kind", [OSError, ValueError])
def test_what_cannot_be_compacted_is_said_and_left_as_it_is(call, kind, tmp_path, eager, caplog, monkeypatch):
    lake = lake_of(tmp_path, 6)

    def full(*given, **named):
        raise kind("No space left on device")

    monkeypatch.setattr(DeltaTable, call, full)
    assert not compact_table(lake.table("documents"), "documents")
    assert "documents could not be compacted, which is tried again later: No space left" in caplog.text
    monkeypatch.undo()
    assert places(lake.documents(0, 9)) == expected(6)


@pytest.mark.slow
def test_a_forgotten_text_is_gone_from_compacted_files_and_from_those_they_replaced(tmp_path, eager):
    lake = fill(tmp_path)
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr(compact_module, "MANY", 3)
        assert compact_table(lake.table("documents"), "documents")
    assert files(lake) == 1
    done = forget(config_of(tmp_path), [id_of(o) for o in GONE])
    assert done["rows"] == 4
    assert_hidden(lake)
    assert_gone(tmp_path)


@pytest.mark.slow
def test_a_tombstone_holds_when_its_document_is_compacted_before_it_is_erased(tmp_path, eager, monkeypatch):
    lake = fill(tmp_path)
    lake.forget(ids_of(GONE))
    monkeypatch.setattr(compact_module, "MANY", 3)
    assert compact_table(lake.table("documents"), "documents")
    assert_hidden(lake)
    assert sum(unerased(lake).values()) == 4, "still on the disk, and found there"
    forget(config_of(tmp_path), [id_of(GONE[0])])
    assert_gone(tmp_path)


@pytest.mark.slow
def test_a_compaction_that_began_before_a_forgetting_cannot_bring_the_text_back(tmp_path):
    lake = fill(tmp_path)
    late = lake.table("documents")
    lake.forget(ids_of(GONE))
    erase(lake)  # the old files are still there: only Delta stands between them and the new version
    after = shown(lake)
    with pytest.raises(CommitFailedError):
        late.optimize.compact()
    assert shown(lake) == after
    forget(config_of(tmp_path), [id_of(GONE[0])])
    assert_gone(tmp_path)


def test_who_began_to_write_before_the_old_files_were_deleted_is_refused(tmp_path, monkeypatch):
    """Else a file that is deleted as nobody's could be named by a version that comes later."""
    lake = fill(tmp_path)
    more = make_documents(3, ["kept"] * 3, 100)
    late, later = lake.table("documents"), lake.table("documents")
    cleanup = DeltaTable.cleanup_metadata
    monkeypatch.setattr(DeltaTable, "cleanup_metadata", lambda table: None)
    clean(lake)
    with pytest.raises(CommitFailedError, match="Metadata changed"):
        write_deltalake(late, more.cast(STORED_DOCUMENT_SCHEMA), mode="append")
    monkeypatch.setattr(DeltaTable, "cleanup_metadata", cleanup)
    clean(lake)
    with pytest.raises(DeltaError, match="Invalid table version"):  # what it would have to compare is gone
        write_deltalake(later, more.cast(STORED_DOCUMENT_SCHEMA), mode="append")
    assert add_window(lake, more), "an append looks again"


class Late(Lake):
    """Others compact, or clean the log, between its look at a table and its append to it."""

    def __init__(self, place, meanwhile):
        super().__init__(place)
        self.meanwhile = [meanwhile]

    def _open(self, name):
        found = super()._open(name)
        if name == "documents" and self.meanwhile:
            self.meanwhile.pop()(Lake(self.store))
        return found


@pytest.mark.parametrize("meanwhile", [lambda lake: compact_table(lake.table("documents"), "documents"), clean])
def test_an_append_that_was_overtaken_looks_again(tmp_path, eager, meanwhile):
    lake = lake_of(tmp_path, 6)
    documents = make_documents(6, ["kept"] * ROWS, 6 * ROWS)
    late = Late(lake.store, meanwhile)
    assert late.plan_window(window_of(documents))
    assert late.commit_window(window_of(documents), documents)
    assert late.meanwhile == []
    assert places(lake.documents(0, 9)) == expected(7)


def test_a_table_of_an_older_version_gets_the_properties_when_it_is_compacted(tmp_path, eager):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data_ops.lake.tables.properties", lambda name: {"delta.logRetentionDuration": "interval 9 days"})
        lake = Lake(Store.open(str(tmp_path)))  # `make_lake` gives a copy of one made before, with other properties
        lake.create()
        fill_windows(lake, 6)
    assert compact_table(lake.table("documents"), "documents")
    found = lake.table("documents").metadata().configuration
    own = {"delta.logRetentionDuration": "interval 9 days"}
    assert found == {**properties("documents"), **own}, "what its owner chose stays"


KILL = """
import os, signal, sys
from data_ops.lake import compact as module
from data_ops.lake.lake import Lake
from cluster.storage.store import Store
from deltalake import DeltaTable
from deltalake.table import TableOptimizer

store, point = sys.argv[1:]
act, when = point.split("-")
owner, name = {"rewrite": (TableOptimizer, "compact"), "checkpoint": (DeltaTable, "create_checkpoint"),
               "vacuum": (DeltaTable, "vacuum")}[act]
real = getattr(owner, name)

def dies(*given, **named):
    if when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = real(*given, **named)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(owner, name, dies)
module.MANY = 4
module.compact(Lake(Store.open(store)).table("documents"), "documents", {"delta.checkpointInterval": "50"})
"""


def run_python(code, *given):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", code, *map(str, given)], env=environment)


@pytest.mark.slow
@pytest.mark.parametrize("point", ["rewrite-before", "rewrite-after", "checkpoint-after", "vacuum-after"])
def test_a_kill_between_two_acts_leaves_every_row(tmp_path, point, eager):
    lake = lake_of(tmp_path, 8)
    assert run_python(KILL, tmp_path, point).wait(240) == -signal.SIGKILL
    assert files(lake) == (8 if point == "rewrite-before" else 1)
    assert places(lake.documents(0, 99)) == expected(8)
    fill_windows(lake, 12)
    assert compact_table(lake.table("documents"), "documents")
    assert places(lake.documents(0, 99)) == expected(12)


WRITE_FOR_EVER = """
import sys
from data_ops.lake import compact, tables
compact.MANY, tables.LOOK_EVERY = 4, 4
from tests.data_ops.lake.test_compact import fill_windows
from tests.data_ops.lake.test_lake import Lake, Store
fill_windows(Lake(Store.open(sys.argv[1])), 10**6)
"""


@pytest.mark.slow
def test_a_writer_that_compacts_and_is_killed_again_and_again_leaves_exact_windows(tmp_path, eager):
    lake, delays = make_lake(tmp_path), random.Random(3)
    for _ in range(5):
        goal = lake.last_window() + 6
        child = run_python(WRITE_FOR_EVER, tmp_path)
        try:
            deadline = time.monotonic() + 240
            while lake.last_window() < goal and time.monotonic() < deadline:
                time.sleep(0.005)
            time.sleep(delays.uniform(0, 0.3))
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
        shown_to = lake.last_window()
        assert shown_to >= goal
        assert places(lake.documents(0, shown_to)) == expected(shown_to + 1)
    assert files(lake) < shown_to / 2, "it did compact"


ON_A_WORD = """
import sys
from data_ops.lake import compact as module
from cluster.storage.store import Store
from data_ops.lake.lake import Lake
module.MANY = 2
table = Lake(Store.open(sys.argv[1])).table("documents")
print("ready", flush=True)
sys.stdin.readline()
module.compact(table, "documents", {"delta.checkpointInterval": "50"})
print("done", flush=True)
"""


@pytest.mark.slow
def test_a_kill_in_the_middle_of_the_work_leaves_every_row(tmp_path, eager):
    lake, left = lake_of(tmp_path, 60), []
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", ON_A_WORD, str(tmp_path)]
    for delay in (0, 0.01, 0.02, 0.04, 0.08):
        with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout.readline() == b"ready\n"
            child.stdin.write(b"go\n")
            child.stdin.flush()
            time.sleep(delay)
            child.send_signal(signal.SIGKILL)
            child.wait()
        left.append(files(lake))
        assert places(lake.documents(0, 99)) == expected(60)
    assert 60 in left, "at least one kill came before the commit"
    assert add_window(lake, make_documents(60, ["kept"] * ROWS, 60 * ROWS))
    assert places(lake.documents(0, 99)) == expected(61)
