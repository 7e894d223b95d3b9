"""Are near duplicates decided from files as by who reads all texts, after any start, kill or forgetting?"""

import random
import time

import pyarrow as pa
import pytest

from cluster.storage.store import Store
from data_ops.curation.history.history import HistoryRule
from data_ops.documents.document import DOCUMENT_SCHEMA, document_id
from data_ops.documents.fates import drop_living
from data_ops.index.folder import KNOWN_IDS, KNOWN_SKETCHES, IndexFolder
from data_ops.index.known_sketches import forget_sketches
from data_ops.ingest.seen import Histories, drop_repeats, sketches_of
from data_ops.kernels.arrays import ids_to_array
from data_ops.lake.erase import erase
from data_ops.lake.lake import Lake
from tests.data_ops.index.often_kept import NeverKept, NeverKeptNear, OftenKept, OftenKeptNear
from tests.support.imports.forks import fork_server
from tests.support.lakes import make_documents, make_lake, window_of

pytestmark = pytest.mark.slow
KEPT = {"duplicate": OftenKept(), "near_duplicate": OftenKeptNear()}
FRESH = {"duplicate": NeverKept(), "near_duplicate": NeverKeptNear()}
SIZE = 300


def read_rows(number: int) -> pa.Table:
    """What the sources give in a window: texts of 60 words, half of which are an earlier one, some words changed."""
    rnd, rows = random.Random(number), make_documents(number, ["kept"] * SIZE, SIZE * number)
    texts = []
    for place in range(SIZE * number, SIZE * (number + 1)):
        of, changes = (rnd.randrange(place + 1), rnd.choice([0, 1, 1, 10])) if rnd.random() < 0.5 else (place, 0)
        words = random.Random(f"text {of}").choices(range(5000), k=60)
        for _ in range(changes):
            words[rnd.randrange(60)] = rnd.randrange(5000)
        texts.append(" ".join(map(str, words)))
    columns = {"text": pa.array(texts), "id": pa.array([document_id(text) for text in texts], pa.binary(16))}
    for name, values in columns.items():
        rows = rows.set_column(rows.column_names.index(name), rows.schema.field(name), values)
    return rows


def decide(seen: Histories, number: int, rules: dict[str, HistoryRule]) -> pa.Table:
    rows = read_rows(number)
    reasons = seen.look(number, rows["id"].combine_chunks(), sketches_of(rows, rules))
    return drop_repeats(drop_living(rows, reasons), rules).cast(DOCUMENT_SCHEMA)


def ingest(path: str, windows: int, rules: dict[str, HistoryRule] = KEPT) -> None:
    """Take in windows as a driver does, beside others that may do the same."""
    lake = Lake(Store.open(path))
    seen = Histories(lake, rules)
    while (number := lake.last_window() + 1) < windows:
        rows = decide(seen, number, rules)
        lake.plan_window(window_of(rows))
        lake.commit_window(window_of(rows), rows)


def fates(lake: Lake) -> list[tuple[bytes, str, str | None]]:
    rows = lake.documents(0, 99, ["id", "fate", "reason"]).to_pylist()
    return [(row["id"], row["fate"], row["reason"]) for row in rows]


def answers(lake: Lake, rules: dict[str, HistoryRule], probe: int = 50) -> list[str | None]:
    rows, seen = read_rows(probe), Histories(lake, rules)
    return seen.look(lake.last_window() + 1, rows["id"].combine_chunks(), sketches_of(rows, rules)).to_pylist()


def test_two_drivers_that_are_killed_at_any_moment_keep_what_one_that_reads_all_texts_keeps(tmp_path):
    make_lake(tmp_path / "a")
    context, rnd, windows = fork_server(__name__), random.Random(3), 8
    for life in range(3):  # two kills, then both go to the end
        drivers = [context.Process(target=ingest, args=(str(tmp_path / "a"), windows)) for _ in range(2)]
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
    plain = make_lake(tmp_path / "b")
    ingest(str(tmp_path / "b"), windows, FRESH)
    lake = Lake(Store.open(str(tmp_path / "a")))
    assert fates(lake) == fates(plain) and answers(lake, KEPT) == answers(lake, FRESH)
    reasons = [reason for _, _, reason in fates(lake)]
    assert min(reasons.count("near_duplicate"), reasons.count("duplicate")) > 50
    assert lake.store.list(KNOWN_SKETCHES) and lake.store.list(KNOWN_IDS)


def test_an_old_store_is_gone_on_with_and_forgetting_changes_answers_as_reading_all_texts_does(tmp_path):
    lake = make_lake(tmp_path)
    ingest(str(tmp_path), 5, FRESH)  # by an earlier version
    before = answers(lake, FRESH, 3)
    seen = Histories(lake, KEPT)
    rows = read_rows(3)
    assert seen.look(5, rows["id"].combine_chunks(), sketches_of(rows, KEPT)).to_pylist() == before
    assert lake.store.list(KNOWN_SKETCHES) and answers(lake, KEPT, 3) == before
    gone = lake.documents(3, 3, fates=["kept"])
    lake.forget(ids_to_array(gone["id"].slice(0, 40)))
    for step in ("told", "erased", "left out"):
        if step == "erased":
            erase(lake)
        elif step == "left out":
            forget_sketches(IndexFolder(lake.store, KNOWN_SKETCHES), lake)
        assert answers(lake, KEPT, 3) == answers(lake, FRESH, 3) != before, step
    seen = Histories(lake, KEPT)
    seen.advance(4)
    assert seen.notes() == []
