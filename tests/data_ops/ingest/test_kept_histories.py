"""Do the histories decide the same from files of the store as from the whole lake, after any start, kill or loss?"""

import random
import time
from types import SimpleNamespace

import pyarrow as pa
import pytest

from cluster.storage.store import Store
from data_ops.curation.history.history import HistoryRule
from data_ops.documents.document import DOCUMENT_SCHEMA
from data_ops.documents.fates import drop_living
from data_ops.index.folder import KNOWN_IDS
from data_ops.ingest.seen import Histories, drop_repeats, sketches_of
from data_ops.kernels.arrays import ids_to_array
from data_ops.lake.lake import Lake
from tests.data_ops.index.often_kept import NeverKept, OftenKept
from tests.support.imports.forks import fork_server
from tests.support.lakes import add_window, make_documents, make_lake, window_of

KEPT, FRESH = {"duplicate": OftenKept()}, {"duplicate": NeverKept()}


def read_rows(number: int) -> pa.Table:
    """What the sources give in a window: 24 documents, of which some were given before, here or there."""
    rnd = random.Random(number)
    rows = [make_documents(number, ["kept"], rnd.randrange(40 * (number + 1)), position=i) for i in range(24)]
    return pa.concat_tables(rows)


def decide(seen: Histories, number: int, rules: dict[str, HistoryRule]) -> pa.Table:
    rows = read_rows(number)
    reasons = seen.look(number, rows["id"].combine_chunks(), sketches_of(rows, rules))
    return drop_repeats(drop_living(rows, reasons), rules).cast(DOCUMENT_SCHEMA)


def ingest(path: str, windows: int) -> None:
    """Take in windows as a driver does, beside others that may do the same."""
    lake = Lake(Store.open(path))
    seen = Histories(lake, KEPT)
    while (number := lake.last_window() + 1) < windows:
        rows = decide(seen, number, KEPT)
        lake.plan_window(window_of(rows))
        lake.commit_window(window_of(rows), rows)


def check(lake: Lake, windows: int) -> None:
    """Every window is as a set in Python decides."""
    known = set[bytes]()
    rows = lake.documents(0, windows - 1, ["window", "id", "fate", "reason"]).to_pylist()
    assert len(rows) == 24 * windows
    for row in rows:
        wanted = ("dropped", "duplicate") if row["id"] in known else ("kept", "too_short")
        assert (row["fate"], row["reason"] or "too_short") == wanted
        known.add(row["id"])


def answers(lake: Lake, rules: dict[str, HistoryRule], window: int) -> list[str | None]:
    rows = lake.documents(0, 99)
    return Histories(lake, rules).look(window, rows["id"], sketches_of(rows, rules)).to_pylist()


@pytest.mark.slow
def test_a_start_reads_the_windows_behind_what_was_kept_and_decides_as_one_that_reads_all(tmp_path):
    lake = make_lake(tmp_path)
    ingest(str(tmp_path), 8)
    check(lake, 8)
    read = []

    def documents(first, last, *given):
        read.append((first, last))
        return lake.documents(first, last, *given)

    counted = SimpleNamespace(
        store=lake.store, documents=documents, **{name: getattr(lake, name) for name in ("stretches", "last_window")}
    )
    counted.forgotten, counted.mark = lake.forgotten, lake.mark
    seen = Histories(counted, KEPT)
    assert decide(seen, 8, KEPT).equals(decide(Histories(lake, FRESH), 8, FRESH)) and seen.notes() == []
    assert read and all(first >= 5 for first, _ in read), "windows that are kept are not read"


@pytest.mark.slow
def test_what_was_forgotten_goes_as_forgotten_after_a_start_that_reads_no_window(tmp_path):
    lake = make_lake(tmp_path)
    for number in range(4):
        add_window(lake, make_documents(number, ["kept"] * 200, 200 * number))
    answers(lake, KEPT, 4)
    lake.forget(ids_to_array(lake.documents(1, 1)["id"].slice(0, 2)))
    assert answers(lake, KEPT, 4) == answers(lake, FRESH, 4) and answers(lake, KEPT, 4).count("forgotten") == 2


@pytest.mark.slow
def test_an_index_of_no_of_an_older_or_of_another_lake_gives_the_same_answers(tmp_path):
    lake = make_lake(tmp_path / "a")
    for number in range(4):
        add_window(lake, make_documents(number, ["kept"] * 200, 200 * number))
    wanted = answers(lake, FRESH, 4)
    assert answers(lake, KEPT, 4) == wanted, "of a store that an earlier version made"
    assert lake.store.list(KNOWN_IDS) and answers(lake, KEPT, 4) == wanted
    for number in range(4, 6):  # an earlier version goes on: the index is behind
        add_window(lake, make_documents(number, ["kept"] * 200, 200 * number))
    assert answers(lake, KEPT, 6) == answers(lake, FRESH, 6)

    restored = make_lake(tmp_path / "b")  # a copy from before the index, which then took in something else
    for number in range(7):
        rows = make_documents(number, ["kept"] * 20, 5000 + 20 * number)
        late = [row | {"arrived": row["arrived"].replace(year=2025)} for row in rows.to_pylist()]
        add_window(restored, pa.Table.from_pylist(late, schema=DOCUMENT_SCHEMA))
    for path in lake.store.list(KNOWN_IDS):
        restored.store.write(path, lake.store.read(path))
    rows = lake.documents(0, 0)
    seen = Histories(restored, KEPT)
    assert seen.look(7, rows["id"], sketches_of(rows, KEPT)).null_count == 200
    assert len(notes := seen.notes()) == 1 and "another lake" in notes[0] and seen.notes() == []


@pytest.mark.slow
def test_an_index_that_is_newer_than_a_lake_from_a_backup_is_not_believed(tmp_path):
    """Window 3 was planned when the copy was made, so it keeps its time; it is committed with other documents then."""
    lake = make_lake(tmp_path / "a")
    for number in range(3):
        add_window(lake, make_documents(number, ["kept"] * 200, 200 * number))
    first, other = (make_documents(3, ["kept"] * 200, at) for at in (600, 5000))
    lake.plan_window(window_of(first))
    backup = {path: lake.store.read(path) for path in lake.store.list()}
    lake.commit_window(window_of(first), first)
    asked = lake.documents(0, 9)
    assert answers(lake, KEPT, 4) == ["duplicate"] * 800
    index = {path: lake.store.read(path) for path in lake.store.list(KNOWN_IDS)}

    for rows, why in ((None, "ahead of the lake"), (other, "of another lake")):
        restored = Lake(Store.open(str(tmp_path / why)))
        for path, data in {**backup, **index}.items():
            restored.store.write(path, data)
        if rows is not None:
            restored.commit_window(window_of(rows), rows)
        seen = Histories(restored, KEPT)
        reasons = seen.look(restored.last_window() + 1, asked["id"], sketches_of(asked, KEPT)).to_pylist()
        assert reasons == ["duplicate"] * 600 + [None] * 200, "documents of the window that was taken back are new"
        assert len(notes := seen.notes()) == 1 and why in notes[0]
        assert answers(restored, KEPT, 9) == answers(restored, FRESH, 9)


@pytest.mark.slow
def test_files_that_are_lost_while_they_are_used_change_no_answer(tmp_path):
    lake = make_lake(tmp_path)
    for number in range(4):
        add_window(lake, make_documents(number, ["kept"] * 200, 200 * number))
    rows, seen = lake.documents(0, 9), Histories(lake, KEPT)
    seen.advance(3)
    for path in tmp_path.rglob("*.ids"):
        with open(path, "r+b") as file:
            file.seek(64)
            file.write(bytes(512))
    assert seen.look(4, rows["id"], sketches_of(rows, KEPT)).to_pylist() == ["duplicate"] * 800
    assert len(seen.notes()) == 1


@pytest.mark.slow
def test_two_drivers_that_are_killed_at_any_moment_keep_what_a_set_would_keep(tmp_path):
    make_lake(tmp_path)
    context, rnd, windows = fork_server(__name__), random.Random(3), 10
    for life in range(3):  # two kills, then both go to the end
        drivers = [context.Process(target=ingest, args=(str(tmp_path), windows)) for _ in range(2)]
        for driver in drivers:
            driver.start()
        if life == 2:
            break
        time.sleep(rnd.uniform(0.1, 1.2))
        for driver in drivers:
            driver.kill()
            driver.join()
    for driver in drivers:
        driver.join()
        assert driver.exitcode == 0
    lake = Lake(Store.open(str(tmp_path)))
    check(lake, windows)
    assert answers(lake, KEPT, windows) == answers(lake, FRESH, windows)
    assert lake.store.list(KNOWN_IDS)
