"""Is no id lost, and is it said, when files of the index are gone, damaged, of another lake, or cannot be written?"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_ops.index.kept import LostError
from data_ops.index.known_ids import KnownIds
from tests.data_ops.index.logs import Log, folder_of, hashes


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


def test_an_index_ahead_of_the_lake_is_built_again(tmp_path):
    filled(tmp_path)
    known = KnownIds(folder_of(tmp_path), lambda window: str(window) if window < 3 else None, 1000)
    assert known.window == -1 and "it is ahead of the lake, which has no window" in known.notes[0]


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
    assert known.contains(log.upto(19)).all()
    assert len([note for note in known.notes if "are not those that were written" in note]) == 1


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


@pytest.mark.slow
def test_a_disk_that_fills_within_a_file_leaves_what_was_there_and_all_is_known(tmp_path):
    """A limit of the kernel cuts a write as a full disk does; it holds for a whole process."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.data_ops.index.no_room", str(tmp_path)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("cannot be written") >= 2 and "File too large" in run.stdout
    known = KnownIds(folder_of(tmp_path), str)
    assert known.window == 5 and known.contains(Log(hashes(0, [300] * 20)).upto(5)).all() and not known.notes
    assert not list(tmp_path.rglob("*.aside"))


def test_two_that_keep_an_index_of_which_a_file_is_damaged_both_go_on(tmp_path):
    log = Log(hashes(0, [300] * 60))
    pair = [KnownIds(folder_of(tmp_path), str, at_once) for at_once in (1000, 1700)]
    for window in range(60):
        if window == 20:
            with open(max(tmp_path.rglob("*.ids"), key=lambda path: path.stat().st_size), "r+b") as file:
                file.seek(-9, 2)
                file.write(b"\x55")
        for known in pair:
            while True:
                try:
                    log.follow(known, window)
                    assert known.contains(log.upto(window)).all()
                    known.settle()
                except LostError:
                    continue
                break
    assert all(known.contains(log.upto(59)).all() and len(known) == log.num_ids for known in pair)
    assert sum(len(known.notes) for known in pair) >= 1 and not KnownIds(folder_of(tmp_path), str).notes


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
