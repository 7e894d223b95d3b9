"""Is the set of known ids exactly a set, whatever lies in files, and whatever happens to these?"""

import random
import subprocess
import sys
import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_ops.index.kept_index import alike
from data_ops.index.known_ids import KnownIds
from data_ops.kernels.seen_ids import SeenIds
from tests.data_ops.index.logs import Log, as_ids, folder_of, hashes

# few values, so that repeats, equal halves and (0, 0) are common
FEW = [0, 1, 2, 2**32, 2**63, 2**64 - 1]
WORDS = st.sampled_from(FEW)


def agrees(batches, at_once, rnd) -> None:
    """After every batch it says what a Python set says, and the set in memory."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as path:
        memory, model = SeenIds(), set[tuple[int, int]]()
        known = KnownIds(folder_of(path), str, at_once)
        for window, batch in enumerate(batches):
            if rnd.random() < 0.3:  # a start: what is not in a file is added again
                known = KnownIds(folder_of(path), str, at_once)
                for again in range(known.window + 1, window):
                    known.add_new(as_ids(batches[again]))
                    known.keep(again)
            expected = [row in model for row in batch]
            assert known.contains(as_ids(batch)).tolist() == memory.contains(as_ids(batch)).tolist() == expected
            new = [row not in model and row not in batch[:i] for i, row in enumerate(batch)]
            assert known.add_new(as_ids(batch)).tolist() == memory.add_new(as_ids(batch)).tolist() == new
            model.update(batch)
            assert len(known) == len(memory) == len(model)
            known.keep(window)
            if rnd.random() < 0.3:
                known.settle()


@pytest.mark.slow
@given(st.lists(st.lists(st.tuples(WORDS, WORDS), max_size=8), max_size=8), st.integers(1, 1500), st.randoms())
@settings(deadline=None, max_examples=15)
def test_it_agrees_with_a_python_set_after_every_batch(batches, at_once, rnd):
    agrees(batches, at_once, rnd)


def test_it_agrees_with_a_python_set_on_ids_of_few_values():
    rnd = random.Random(5)
    agrees([[(rnd.choice(FEW), rnd.choice(FEW)) for _ in range(rnd.randrange(12))] for _ in range(12)], 600, rnd)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_hashes_stay_known_through_files_merges_and_starts(tmp_path, seed):
    rng = np.random.default_rng(seed)
    log, at_once = Log(hashes(seed, [int(n) for n in rng.integers(0, 900, 60)])), int(rng.integers(900, 4000))
    known = KnownIds(folder_of(tmp_path), str, at_once)
    for window in range(60):
        if rng.random() < 0.1:
            known = KnownIds(folder_of(tmp_path), str, at_once)
        log.follow(known, window)
        if rng.random() < 0.5:
            known.settle()
    known.settle()
    assert known.contains(log.upto(59)).all() and not known.add_new(log.upto(59)).any() and len(known) == log.num_ids
    assert not known.contains(log.upto(59)[:, ::-1]).any()
    assert len(alike(known.files)) == 0 and len(known.files) < 12
    sizes = [path.stat().st_size for path in tmp_path.glob("index/ids/*.ids")]
    assert sum(sizes) < 18.5 * log.num_ids and sum(file.line_bytes for file in known.files) < 2.2 * log.num_ids


def test_a_small_store_has_no_file(tmp_path):
    known = KnownIds(folder_of(tmp_path), str)
    Log(hashes(0, [50] * 100)).follow(known, 99)
    assert not list(tmp_path.rglob("*"))


def test_windows_without_documents_move_the_start_too(tmp_path):
    known = KnownIds(folder_of(tmp_path), str, 1024)
    for window in range(4):
        known.keep(window)
    assert KnownIds(folder_of(tmp_path), str).window == 3 and not list(tmp_path.rglob("*.ids"))


def test_a_window_that_is_not_committed_is_not_written(tmp_path):
    log = Log(hashes(0, [300] * 4))
    known = KnownIds(folder_of(tmp_path), lambda window: str(window) if window < 2 else None, 1000)
    log.follow(known, 3)
    assert KnownIds(folder_of(tmp_path), str).window < 2 and known.contains(log.upto(3)).all()


@pytest.mark.slow
def test_no_exit_of_a_process_waits_for_a_merge(tmp_path):
    script = """
import sys, threading
from cluster.storage.store import Store
from data_ops.index.folder import IndexFolder
from data_ops.index.known_ids import KnownIds
from tests.data_ops.index.logs import Log, hashes

began = threading.Event()

class Slow(IndexFolder):
    def write(self, write, kind):
        if threading.current_thread() is not threading.main_thread():
            began.set()
            threading.Event().wait(120)
        return super().write(write, kind)

known = KnownIds(Slow(Store.open(sys.argv[1])), str, 1000)
Log(hashes(0, [300] * 30)).follow(known, 29)
print(began.wait(60), flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "True\n"
        assert process.wait(45) == 0
    finally:
        process.kill()


def test_an_old_lake_without_index_is_told_once_and_a_new_one_never(tmp_path):
    log = Log(hashes(0, [300] * 12))
    old = KnownIds(folder_of(tmp_path / "old"), str, 1000)
    log.follow(old, 11)
    assert len(old.notes) == 1 and "there was no index" in old.notes[0] and not KnownIds(old.folder, str).notes
    growing = Log(log.windows)
    new = KnownIds(folder_of(tmp_path / "new"), growing.mark, 1000)
    for window in range(12):
        growing.follow(new, window)
    assert new.written > 8 and not new.notes


def test_of_two_that_keep_an_index_one_goes_on_from_the_files_of_the_other(tmp_path):
    log = Log(hashes(0, [300] * 40))
    ours, theirs = (KnownIds(folder_of(tmp_path), str, at_once) for at_once in (1000, 1700))
    for window in range(40):
        for known in (ours, theirs) if window % 3 else (theirs, ours):
            log.follow(known, window)
            known.settle()
            assert known.contains(log.upto(window)).all()
    last = KnownIds(folder_of(tmp_path), str)
    assert last.window > 30 and not last.notes and last.contains(log.upto(last.window)).all()
    assert {path.name for path in tmp_path.rglob("*.ids")} == {file.facts.name for file in last.files}
    assert len(list(tmp_path.rglob("manifest*"))) == 1


def test_one_that_slept_while_its_number_was_used_and_deleted_does_not_count(tmp_path):
    log = Log(hashes(0, [300] * 20))
    sleeper, other = (KnownIds(folder_of(tmp_path), str, 1000) for _ in range(2))
    log.follow(other, 19)
    other.settle()
    log.follow(sleeper, 1)
    assert sleeper.window > 10 and sleeper.contains(log.upto(19)).all()
    assert KnownIds(folder_of(tmp_path), str).window == other.written


@pytest.mark.parametrize("wrong", [np.zeros((2, 2)), np.zeros(4, dtype=np.uint64), np.zeros((2, 3), dtype=np.uint64)])
def test_anything_but_ids_is_refused_with_its_shape(tmp_path, wrong):
    with pytest.raises(ValueError, match="use ids_to_array"):
        KnownIds(folder_of(tmp_path), str).add_new(wrong)
