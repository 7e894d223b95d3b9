"""Is the set of known ids exactly a set, whatever lies in files, and whatever happens to these?"""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.storage.store import Store
from data_ops.index.folder import IndexFolder
from data_ops.index.kept import LostError
from data_ops.index.known_ids import KnownIds, alike
from data_ops.index.sorted_file import SortedFile, merge, write_ids
from data_ops.kernels.seen_ids import SeenIds
from tests.data_ops.index.logs import Log, as_ids, hashes

# few values, so that repeats, equal halves and (0, 0) are common
WORDS = st.sampled_from([0, 1, 2, 2**32, 2**63, 2**64 - 1])
BATCHES = st.lists(st.lists(st.tuples(WORDS, WORDS), max_size=12), max_size=12)


def folder_of(path: Path | str) -> IndexFolder:
    return IndexFolder(Store.open(str(path)), "index/ids")


@given(BATCHES, st.integers(1, 1500), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60)
def test_it_agrees_with_a_python_set_and_with_the_set_in_memory_after_every_batch(batches, at_once, rnd):
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


@pytest.mark.parametrize("shift", [0, 32, 60])
def test_a_merge_in_short_stretches_is_the_whole_also_of_ids_that_are_no_hashes(tmp_path, shift):
    ids = hashes(1, [900])[0]
    ids[:, 0] >>= np.uint64(shift)  # 60: all belong into the first line, and most stretches are empty
    paths, parts = [tmp_path / name for name in "abc"], (ids[:500], ids[500:501], ids[501:])
    files = []
    for path, part in zip(paths, parts, strict=True):
        with open(path, "wb") as file:
            facts = write_ids(part, file, path.name)
        files.append(SortedFile(path, facts))
    with open(tmp_path / "merged", "wb") as file:
        facts = merge(files, file, "merged", at_once=40)
    with open(tmp_path / "direct", "wb") as file:
        assert write_ids(ids, file, "merged") == facts
    assert (tmp_path / "merged").read_bytes() == (tmp_path / "direct").read_bytes()
    assert SortedFile(tmp_path / "merged", facts).contains(ids).all()


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


def filled(path: Path, windows: int = 6) -> Log:
    """An index of windows of 300 hashes, a file for each two of them, the last window not written."""
    log = Log(hashes(0, [300] * (windows + 1)))
    known = KnownIds(folder_of(path), str, 1000)
    for window in range(windows):
        log.follow(known, window)
        known.settle()
    return log


def rebuilt(path: Path, log: Log, why: str) -> None:
    """The index is found lost at its opening or when it is asked, says so once, and is right afterwards."""
    known = KnownIds(folder_of(path), str, 1000)
    notes = list(known.notes)
    for _ in range(2):
        try:
            log.follow(known, 6)
            assert known.contains(log.upto(6)).all() and len(known) == log.num_ids
            known.settle()
        except LostError:
            assert known.window == -1 and len(known) == 0
            notes = known.notes
    assert len(notes) == 1 and why in notes[0] and "is built again from the lake" in notes[0]
    assert KnownIds(folder_of(path), str).notes == [] and KnownIds(folder_of(path), str).window > 3


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        ("gone", "is gone"),
        ("torn", "bytes, not"),
        ("empty", "bytes, not"),
        ("zeros", "does not begin"),
        ("manifest", "digest"),
        ("cut manifest", "is damaged"),
    ],
)
def test_what_is_gone_torn_or_changed_is_built_again_and_said_once(tmp_path, harm, why):
    log = filled(tmp_path)
    file = next(tmp_path.rglob("*.ids"))
    manifest = next(tmp_path.rglob("manifest*"))
    if harm == "gone":
        file.unlink()
    elif harm in ("torn", "empty"):
        file.write_bytes(file.read_bytes()[: 4096 if harm == "torn" else 0])
    elif harm == "zeros":
        file.write_bytes(bytes(len(file.read_bytes())))
    elif harm == "manifest":
        manifest.write_bytes(manifest.read_bytes().replace(b'"window": ', b'"window": 1'))
    else:
        manifest.write_bytes(manifest.read_bytes()[:50])
    rebuilt(tmp_path, log, why)


def test_files_of_another_lake_are_not_taken_for_those_of_this_one(tmp_path):
    log = filled(tmp_path)
    known = KnownIds(folder_of(tmp_path), lambda window: f"other {window}", 1000)
    assert known.window == -1 and "it is of another lake, whose window" in known.notes[0]
    log.follow(known, 6)
    assert KnownIds(folder_of(tmp_path), lambda window: f"other {window}").window > 3


@pytest.mark.slow
def test_no_flipped_bit_makes_a_known_id_new(tmp_path):
    filled(tmp_path)
    log, file = Log(hashes(0, [300] * 6)), max(tmp_path.rglob("*.ids"), key=lambda path: path.stat().st_size)
    whole, rng, told = file.read_bytes(), np.random.default_rng(0), 0
    places = [*range(64), *rng.integers(0, len(whole), 300).tolist()]
    for place in places:
        data = bytearray(whole)
        data[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(data)
        known = KnownIds(folder_of(tmp_path), str)
        if known.notes:
            told += 1
            continue
        try:
            assert known.contains(log.upto(known.window)).all(), place
        except LostError:
            told += 1
    assert told == len(places), "all ids were asked for, so every line and every id was looked at"


def test_a_damaged_id_is_found_by_a_merge_that_nobody_asked(tmp_path):
    log = Log(hashes(0, [300] * 20))
    known = KnownIds(folder_of(tmp_path), str, 500)
    log.follow(known, 2)
    file = next(tmp_path.rglob("*.ids"))
    with open(file, "r+b") as opened:
        opened.seek(-9, 2)
        opened.write(b"\x55")
    with pytest.raises(LostError):
        for window in range(3, 20):
            log.follow(known, window, probe=False)
            known.settle()
    log.follow(known, 19)
    assert known.contains(log.upto(19)).all() and len(known.notes) == 1


def test_a_disk_that_damages_again_and_again_is_told(tmp_path):
    filled(tmp_path)
    known = KnownIds(folder_of(tmp_path), str, 1000)
    log = Log(hashes(0, [300] * 6))
    with pytest.raises(ValueError, match=r"was damaged 3 times since this start .* move the store to another one"):
        for _ in range(9):
            for file in tmp_path.rglob("*.ids"):
                with open(file, "r+b") as opened:
                    opened.seek(64)
                    opened.write(bytes(64))
            try:
                log.follow(known, 5)
                known.contains(log.upto(5))
            except LostError:
                continue


def test_what_cannot_be_written_stays_in_memory_and_is_written_later(tmp_path):
    log, known = Log(hashes(0, [300] * 12)), KnownIds(folder_of(tmp_path), str, 1000)
    (tmp_path / "index").write_bytes(b"")  # where the folder should be
    log.follow(known, 5)
    assert known.contains(log.upto(5)).all() and "cannot be written; a start reads more" in known.notes[0]
    (tmp_path / "index").unlink()
    log.follow(known, 11)
    assert KnownIds(folder_of(tmp_path), str).window > 5


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


def test_what_killed_processes_left_goes_after_a_day(tmp_path):
    log = filled(tmp_path)
    young, old = tmp_path / "index/ids/9999999999-aa.ids", tmp_path / "index/ids/1000000000-aa.ids"
    half, fresh = tmp_path / "index/ids/.1-aa.ids.bb.aside", tmp_path / "index/ids/.2-aa.ids.bb.aside"
    for path in (young, old, half, fresh):
        path.write_bytes(b"x")
    os.utime(half, (0, 0))
    known = KnownIds(folder_of(tmp_path), str)
    assert young.exists() and fresh.exists() and not old.exists() and not half.exists()
    assert known.contains(log.upto(known.window)).all()


@pytest.mark.parametrize("wrong", [np.zeros((2, 2)), np.zeros(4, dtype=np.uint64), np.zeros((2, 3), dtype=np.uint64)])
def test_anything_but_ids_is_refused_with_its_shape(tmp_path, wrong):
    with pytest.raises(ValueError, match="use ids_to_array"):
        KnownIds(folder_of(tmp_path), str).add_new(wrong)
