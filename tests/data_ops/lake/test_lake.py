"""Does every row enter the lake exactly once, whoever writes it and whenever they are killed?"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from deltalake.exceptions import DeltaError

from cluster.storage.seal import DamagedError
from cluster.storage.store import Store
from data_ops.curation.config import CurateConfig
from data_ops.documents.document import DOCUMENT_SCHEMA
from data_ops.ingest.context import IngestContext
from data_ops.lake.lake import Lake
from data_ops.lake.schemas import UPKEEP
from data_ops.sources.kinds import FilesConfig
from tests.support.lakes import START, add_window, fill_lake, make_documents, make_lake, window_of
from tests.support.root import ROOT


def places(table):
    return list(zip(table["window"].to_pylist(), table["position"].to_pylist(), strict=True))


class CrashingLake(Lake):
    """Dies between a window's documents and its commit."""

    def _append(self, name, app, number, rows):
        if app == "committed":
            raise KeyboardInterrupt
        return super()._append(name, app, number, rows)


def test_repeating_an_append_changes_nothing(tmp_path):
    lake = make_lake(tmp_path)
    documents = make_documents(0, ["kept", "dropped"])
    window = window_of(documents)
    entry = {"step": 1, "round": 0, "step_in_round": 1, "checkpoint": "r/1", "state": "{}"}
    manifest = {"plan": "{}", "fresh": [], "replay": [], "shed": []}
    writes = [
        lambda: lake.plan_window(window),
        lambda: lake.commit_window(window, documents),
        lambda: lake.add_round("r", 0, manifest),
        lambda: lake.add_ledger("r", entry),
    ]
    assert [write() for write in writes] == [True] * 4
    assert [write() for write in writes] == [False] * 4
    lake.create()
    assert places(lake.documents(0, 9)) == [(0, 0), (0, 1)]
    assert (lake.rounds().num_rows, lake.ledger().num_rows, len(lake.windows()[0])) == (1, 1, 1)


def test_of_two_writers_of_one_window_exactly_one_succeeds(tmp_path):
    make_lake(tmp_path)
    barrier, results = threading.Barrier(2), []

    def write():
        lake = Lake(Store.open(str(tmp_path)))
        for number in range(4):
            documents = make_documents(number, ["kept"] * 3, 3 * number)
            barrier.wait(timeout=120)
            results.append((number, lake.commit_window(window_of(documents), documents)))

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == sorted((n, done) for n in range(4) for done in (False, True))
    assert places(Lake(Store.open(str(tmp_path))).documents(0, 9)) == [(n, p) for n in range(4) for p in range(3)]


def test_documents_of_a_crashed_window_are_not_shown_until_it_is_committed(tmp_path):
    lake = make_lake(tmp_path)
    fill_lake(lake, [["kept"] * 2])
    documents = make_documents(1, ["kept"] * 3, 2)
    with pytest.raises(KeyboardInterrupt):
        CrashingLake(lake.store).commit_window(window_of(documents), documents)
    assert lake.last_window() == 0
    assert places(lake.documents(0, 9)) == [(0, 0), (0, 1)]
    assert lake.commit_window(window_of(documents), documents)
    assert places(lake.documents(0, 9)) == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]


def test_windows_come_back_in_order_with_the_open_plan_apart(tmp_path):
    lake = make_lake(tmp_path)
    assert lake.windows() == ([], None)
    fill_lake(lake, [["kept"], ["kept", "held_out"]])
    plan = window_of(make_documents(2, ["kept"] * 4, 3))
    other = window_of(make_documents(2, ["kept"] * 9, 3))
    assert lake.plan_window(plan)
    assert not lake.plan_window(other), "the first plan stands"
    committed, planned = lake.windows()
    assert [w.window for w in committed] == [0, 1]
    assert [w.num_records for w in committed] == [1, 2]
    assert committed[1].counts == {"read": 2}
    assert committed[1].arrived == START + timedelta(seconds=1)
    assert (planned.spans, planned.cursors, planned.num_records) == (plan.spans, plan.cursors, 4)
    assert lake.arrivals(1, 1) == {1: START.timestamp() + 1}


def test_a_window_records_only_the_cursors_that_moved(tmp_path):
    from data_ops.ingest.config import IngestSettings, WindowConfig
    from data_ops.ingest.pipeline import next_window

    data = tmp_path / "data"
    data.mkdir()
    lake = make_lake(tmp_path / "lake")
    config = FilesConfig(path=str(data / "*.jsonl"))
    settings = IngestSettings({"mine": config}, WindowConfig(max_documents=100), CurateConfig(), 0, 0.0)

    def plan():
        return next_window(IngestContext(lake, settings))

    for number, name in enumerate(("a", "b", "c")):
        (data / f"{name}.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
        window = plan()
        assert window.window == number
        assert list(window.cursors["mine"]) == [str(data / f"{name}.jsonl")]
        assert [Path(span.partition).stem for span in window.spans["mine"]] == [name]
        lake.commit_window(window, make_documents(number, ["kept"] * 2, 2 * number))
    assert plan() is None


class LosingLake(Lake):
    """Another ingest plans and commits every window up to `others` just before this one plans it."""

    others = 1
    asked = 0

    def plan_window(self, window):
        if window.window < self.others:
            theirs = Lake(self.store)
            theirs.plan_window(window)
            theirs.commit_window(window, make_documents(window.window, ["kept"] * window.num_records))
        return super().plan_window(window)

    def windows(self, first_window=0):
        self.asked += 1
        return super().windows(first_window)


def test_losing_the_race_for_a_window_is_not_being_drained(tmp_path):
    from data_ops.ingest.config import IngestSettings, WindowConfig
    from data_ops.ingest.pipeline import next_window

    data = tmp_path / "data"
    data.mkdir()
    (data / "a.jsonl").write_text('{"text": "one"}\n' * 5)
    lake = LosingLake(make_lake(tmp_path / "lake").store)
    config = FilesConfig(path=str(data / "*.jsonl"))
    settings = IngestSettings({"mine": config}, WindowConfig(max_documents=2), CurateConfig(), 0, 0.0)
    given = {"follow": False, "stop": lambda: False, "warned": set(), "report": lambda event: None}
    window = next_window(IngestContext(lake, settings, **given))
    assert window is not None
    assert (window.window, [s.first_record for s in window.spans["mine"]]) == (1, [2])


def test_the_log_of_windows_is_read_at_the_start_and_after_a_lost_race_only(tmp_path):
    from data_ops.ingest.config import IngestSettings, WindowConfig
    from data_ops.ingest.pipeline import next_window
    from data_ops.lake.progress import Reach

    data = tmp_path / "data"
    data.mkdir()
    (data / "a.jsonl").write_text('{"text": "one"}\n' * 5)
    lake, progress = LosingLake(make_lake(tmp_path / "lake").store), Reach()
    lake.others = 0
    config = FilesConfig(path=str(data / "*.jsonl"))
    settings = IngestSettings({"mine": config}, WindowConfig(max_documents=1), CurateConfig(), 0, 0.0)
    given = {"follow": False, "stop": lambda: False, "warned": set(), "report": lambda event: None}
    for number in range(5):
        lake.others = 2 if number == 1 else 0
        window = next_window(IngestContext(lake, settings, **given, progress=progress))
        if window is None:
            break
        lake.commit_window(window, make_documents(window.window, ["kept"], window.window))
        progress.take(window)
    assert window is None, "one of the five records went to the other ingest"
    assert lake.asked == 2
    assert [w.spans["mine"][0].first_record for w in lake.windows()[0]] == list(range(5))


def test_an_open_plan_is_taken_up_again_whatever_the_files_are_now(tmp_path):
    from data_ops.ingest.config import IngestSettings, WindowConfig
    from data_ops.ingest.pipeline import next_window

    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n')
    lake = make_lake(tmp_path / "lake")
    settings = IngestSettings({"mine": FilesConfig(path=str(path))}, WindowConfig(), CurateConfig(), 0, 0.0)
    given = {"follow": False, "stop": lambda: False, "warned": set(), "report": lambda event: None}
    plan = next_window(IngestContext(lake, settings, **given))
    path.unlink()
    assert next_window(IngestContext(lake, settings, **given)).spans == plan.spans


def test_documents_come_in_the_order_of_the_log_with_the_asked_columns_and_fates(tmp_path):
    lake = make_lake(tmp_path)
    fates = ["kept", "dropped", "held_out", "quarantined", "kept"]
    for number in (0, 1, 80):  # more than 64 windows apart: the other way to filter
        rows = make_documents(number, fates, 5 * number)
        add_window(lake, rows.take([3, 0, 4, 2, 1]))
    assert places(lake.documents(0, 99)) == [(n, p) for n in (0, 1, 80) for p in range(5)]
    assert places(lake.documents(1, 1)) == [(1, p) for p in range(5)]
    kept = lake.documents(0, 80, ["offset", "tokens"], ["kept"])
    assert kept.column_names == ["offset", "tokens"]
    assert kept["offset"].to_pylist() == [0, 4, 5, 9, 400, 404]
    assert [len(t) for t in kept["tokens"].to_pylist()] == [1 + o % 13 for o in kept["offset"].to_pylist()]
    both = lake.documents(0, 0, ["fate"], ["held_out", "quarantined"])
    assert both["fate"].to_pylist() == ["held_out", "quarantined"]
    assert lake.documents(0, -1, ["id", "tokens"], ["kept"]).num_rows == 0
    assert lake.documents(81, 99).num_rows == 0


def test_rounds_and_ledger_are_kept_apart_by_run(tmp_path):
    lake = make_lake(tmp_path)
    manifest = {"plan": "{}", "fresh": [], "replay": [], "shed": []}
    for run, rounds in (("b", 2), ("a", 3)):
        for number in range(rounds):
            assert lake.add_round(run, number, {**manifest, "plan": f'{{"x": "{run}{number}"}}'})
            entry = {
                "step": 10 * number,
                "round": number,
                "step_in_round": 0,
                "checkpoint": f"{run}/{number}",
                "state": "{}",
            }
            assert lake.add_ledger(run, entry)
    assert (lake.num_rounds("a"), lake.num_rounds("b"), lake.num_rounds("c")) == (3, 2, 0)
    assert lake.rounds("a")["round"].to_pylist() == [0, 1, 2]
    assert lake.rounds("a", 1)["plan"].to_pylist() == ['{"x": "a1"}']
    assert lake.rounds(None, 1)["run"].to_pylist() == ["a", "b"]
    assert lake.ledger("b")["step"].to_pylist() == [0, 10]
    assert lake.ledger()["checkpoint"].to_pylist() == ["a/0", "a/1", "a/2", "b/0", "b/1"]


def test_a_run_that_went_back_to_an_earlier_checkpoint_stands_there(tmp_path):
    lake = make_lake(tmp_path)
    entries = [{"step": s, "round": s, "step_in_round": 0, "checkpoint": f"r/{s}", "state": "{}"} for s in (4, 8, 6)]
    for entry in entries:
        assert lake.add_ledger("r", entry)
        assert not lake.add_ledger("r", entry), "the same note again"
    assert lake.ledger("r")["step"].to_pylist() == [4, 8, 6]


class RacedLake(Lake):
    """Another process notes something else just before the first append of this one."""

    raced = False

    def _append(self, name, app, number, rows):
        if not self.raced:
            self.raced = True
            Lake(self.store).add_ledger("r", note_of(8))
        return super()._append(name, app, number, rows)


def note_of(step):
    return {"step": step, "round": 0, "step_in_round": step, "checkpoint": f"r/{step}", "state": "{}"}


def test_a_note_is_not_lost_when_another_process_notes_something_in_between(tmp_path):
    lake = make_lake(tmp_path)
    for step in (3, 5):
        assert lake.add_ledger("other", note_of(step))
    assert lake.add_ledger("r", note_of(7))
    assert RacedLake(lake.store).add_ledger("r", note_of(9))
    assert lake.ledger("r")["step"].to_pylist() == [7, 8, 9]
    assert not RacedLake(lake.store).add_ledger("r", note_of(8)), "the other process said it first"


def test_one_window_is_read_without_opening_the_files_of_the_others(tmp_path):
    lake = make_lake(tmp_path)
    fill_lake(lake, [["kept"]] * 4)
    for number, action in enumerate(
        sorted((tmp_path / "documents").glob("*.parquet"), key=lambda p: p.stat().st_mtime)
    ):
        if number != 2:
            action.write_bytes(b"damaged")
    for action in sorted((tmp_path / "windows").glob("*.parquet"), key=lambda p: p.stat().st_mtime)[:4]:
        action.write_bytes(b"damaged")  # planned and committed, of windows 0 and 1
    assert places(lake.documents(2, 2)) == [(2, 0)]
    assert [w.window for w in lake.windows(2)[0]] == [2, 3]
    assert list(lake.arrivals(3, 3)) == [3]


def test_a_lake_that_does_not_exist_reads_as_empty_and_is_not_written(tmp_path):
    lake = Lake(Store.open(str(tmp_path / "nowhere")))
    assert lake.windows() == ([], None)
    assert (lake.last_window(), lake.num_rounds("r"), lake.documents(0, 9).num_rows) == (-1, 0, 0)
    assert lake.documents(0, 9).column_names == DOCUMENT_SCHEMA.names
    with pytest.raises(FileNotFoundError, match=r"windows is no Delta table; create the lake first"):
        lake.plan_window(window_of(make_documents(0, ["kept"])))
    assert not (tmp_path / "nowhere").exists()


def test_log_checkpoints_change_nothing_but_the_time_to_open(tmp_path, monkeypatch):
    monkeypatch.setitem(UPKEEP, "delta.checkpointInterval", "3")
    lake = make_lake(tmp_path)
    fill_lake(lake, [["kept"]] * 5)
    assert (tmp_path / "documents" / "_delta_log" / "_last_checkpoint").exists()
    assert places(lake.documents(0, 9)) == [(n, 0) for n in range(5)]
    assert not lake.commit_window(window_of(make_documents(4, ["kept"], 4)), make_documents(4, ["kept"], 4))


def ingest_for_ever(folder):
    """What the killed process runs: window after window, each a function of its number."""
    lake = Lake(Store.open(folder))
    while True:
        number = lake.last_window() + 1
        add_window(lake, make_documents(number, ["kept"] * 20, 20 * number))


@pytest.mark.slow
def test_a_writer_killed_again_and_again_leaves_exact_windows(tmp_path):
    lake = make_lake(tmp_path)
    code = f"from tests.data_ops.lake.test_lake import ingest_for_ever; ingest_for_ever({str(tmp_path)!r})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    delays = random.Random(7)
    for _ in range(3):
        goal = lake.last_window() + 3
        child = subprocess.Popen([sys.executable, "-c", code], env=environment)
        try:
            deadline = time.monotonic() + 240
            while lake.last_window() < goal and time.monotonic() < deadline:
                time.sleep(0.005)
            time.sleep(delays.uniform(0, 0.05))
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
        assert lake.last_window() >= goal
        shown = lake.last_window()
        assert places(lake.documents(0, shown)) == [(n, p) for n in range(shown + 1) for p in range(20)]
    committed, planned = lake.windows()
    assert [w.window for w in committed] == list(range(shown + 1))
    again = shown + 1
    assert planned is None or planned.window == again
    assert add_window(lake, make_documents(again, ["kept"] * 20, 20 * again))
    assert places(lake.documents(0, again)) == [(n, p) for n in range(again + 1) for p in range(20)]


def test_what_delta_refuses_is_told_in_one_sentence(tmp_path):
    lake = make_lake(tmp_path)

    def ask(table):
        raise DeltaError("first\n  \x1b[31m↳\x1b[0m second")

    with pytest.raises(OSError, match=r"/ledger cannot be read or written: first second$"):
        lake._look("ledger", ask)


@pytest.mark.parametrize(
    ("name", "column", "read"),
    [
        ("documents", "weight", lambda lake: lake.documents(0, 0)),
        ("windows", "counts", lambda lake: lake.windows()),
        ("rounds", "replay", lambda lake: lake.rounds("news")),
        ("rounds", "shed", lambda lake: list(lake.round_batches())),
        ("ledger", "state", lambda lake: lake.ledger("news")),
        ("forgotten", "forgotten", lambda lake: lake.tombstones()),
    ],
)
def test_a_column_whose_name_was_damaged_in_the_log_is_told_with_the_table(tmp_path, name, column, read):
    lake = Lake(Store.open(str(tmp_path)))
    lake.create()
    place = tmp_path / name / "_delta_log" / f"{0:020}.json"
    text = place.read_text()
    written = f'\\"name\\":\\"{column}\\"'
    assert text.count(written) == 1
    place.write_text(text.replace(written, written.replace(column, f"{column[:-1]}_")))
    with pytest.raises(DamagedError, match=f"{tmp_path}/{name} is damaged: .*{column}"):
        read(lake)
