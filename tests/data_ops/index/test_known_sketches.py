"""Does the index of sketches say what a plain comparison of all with all says, whatever lies in files?"""

import tempfile
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.storage.state import write_json
from data_ops.index.folder import KNOWN_SKETCHES
from data_ops.index.kept import LostError
from data_ops.index.known_sketches import KnownSketches, forget_sketches
from data_ops.index.sorted_file import WIDTHS
from data_ops.kernels.near_index import NearIndex
from data_ops.kernels.texts.minhash import NUM_BANDS, NUM_HASHES, sketch_version
from tests.data_ops.index.sketch_logs import AGREEMENT, SketchLog, folder_of

AT_ONCE = 300  # a window counts as 256


def open_index(path: Path | str, log: SketchLog, at_once: int = AT_ONCE) -> KnownSketches:
    return KnownSketches(folder_of(path), log, AGREEMENT, at_once)


def filled(path: Path, log: SketchLog) -> KnownSketches:
    known = open_index(path, log)
    for window in range(len(log.sizes)):
        log.follow(known, window)
        known.settle()
    return known


def files(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.suffix[1:] in WIDTHS]


def same(known: KnownSketches, log: SketchLog, window: int) -> None:
    """All answers are the plain ones, of what was added and of what was not."""
    everything = np.arange(len(log.ids))
    assert known.look(*log.of(everything)[1:]).tolist() == log.plain(window).look(everything)


@pytest.mark.slow
@given(
    st.integers(0, 2**32),
    st.lists(st.integers(0, 12), min_size=1, max_size=9),
    st.lists(st.sampled_from(["go on", "settle", "start", "forget", "forget two"]), min_size=9, max_size=9),
    st.integers(1, 900),
)
@settings(max_examples=20, deadline=None)
def test_whatever_happens_every_answer_is_that_of_a_plain_comparison(seed, sizes, acts, at_once) -> None:
    log = SketchLog(seed, sizes, templates=2)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as path:
        known = open_index(path, log, at_once)
        for window, act in zip(range(len(sizes)), acts, strict=False):
            log.follow(known, window - 1)
            if act == "settle":
                known.settle()
            if act.startswith("forget"):
                log.gone += [n for n in range(window, int(log.ends[window]), 7) if n not in log.gone][: len(act) // 6]
                if act == "forget two":
                    forget_sketches(known.folder, log)
            if act not in ("go on", "settle"):
                known = open_index(path, log, at_once)
                log.follow(known, window - 1)
            assert not [note for note in known.notes if "there was no index" not in note]
            same(known, log, window - 1)
            log.reached = window
            part = log.part(window)
            assert known.add(*log.of(part)).tolist() == log.plain(window - 1).add(part)
            same(known, log, window)
            known.keep(window)


@pytest.mark.slow
def test_it_is_bit_for_bit_one_index_in_memory_whatever_order_the_documents_come_in(tmp_path) -> None:
    log = SketchLog(4, [500] * 12, templates=40)
    memory, known = NearIndex(NUM_HASHES, NUM_BANDS, AGREEMENT), open_index(tmp_path / "a", log)
    for window in range(12):
        rows = log.of(log.part(window))
        assert known.look(*rows[1:]).tolist() == memory.look(*rows[1:]).tolist()
        log.reached = window
        assert known.add(*rows).tolist() == memory.add(*rows).tolist()
        known.keep(window)
        known.settle()
    everything = log.of(np.arange(6000))[1:]
    answer = memory.look(*everything)
    assert 0.1 < answer[:3000].mean() <= 1 and len(known.files) < 12 and len(known) == 6000
    other = SketchLog(4, [500] * 12, templates=40)
    order = np.random.default_rng(1).permutation(6000)
    other.ids, other.signatures, other.bands = log.ids[order], log.signatures[order], log.bands[order]
    shuffled = open_index(tmp_path / "b", other, 700)
    other.follow(shuffled, 11)
    assert shuffled.look(*everything).tolist() == answer.tolist()


def test_a_start_reads_what_is_behind_the_files_and_these_take_few_bytes(tmp_path) -> None:
    log = SketchLog(0, [400] * 7)
    known = filled(tmp_path, log)
    again = open_index(tmp_path, log)
    assert again.window == known.written > 4 and again.notes == []
    log.follow(again, 6)
    same_as = known.look(*log.of(np.arange(200))[1:]).tolist()
    assert again.look(*log.of(np.arange(200))[1:]).tolist() == same_as
    sizes = {kind: sum(f.stat().st_size for f in files(tmp_path) if f.suffix[1:] == kind) for kind in WIDTHS}
    count = len(again) - len(again.recent)
    assert sizes["bands"] < 20 * 14 * count and sizes["sketches"] < 128 * count and sizes["ids"] == 0


def test_the_ninth_of_a_family_counts_when_one_of_the_first_eight_is_forgotten(tmp_path) -> None:
    log = SketchLog(0, [9, 9])
    log.signatures[:] = np.random.default_rng(0).integers(0, 256, log.signatures.shape)
    log.bands[:9] = np.random.default_rng(1).integers(0, 2**64, (9, 14), np.uint64)
    log.bands[:9, 0] = 7
    order = np.argsort(log.ids[:9, 0])
    log.signatures[9], log.bands[9, 0] = log.signatures[order[8]], 7
    known = open_index(tmp_path, log, 1)
    log.follow(known, 0)
    assert known.written == 0 and not known.look(*log.of([9])[1:])[0], "eight of the key have smaller ids"
    log.gone = [int(order[3])]
    assert open_index(tmp_path, log).look(*log.of([9])[1:])[0]


@pytest.mark.parametrize("how", ["at once", "at the next start", "after a kill"])
def test_nothing_of_a_forgotten_document_is_on_the_disk(tmp_path, how) -> None:
    log, gone = SketchLog(0, [300] * 6), [3, 310, 905]
    log.signatures[gone] = np.arange(3)[:, None] + 100  # as no other has
    known = filled(tmp_path, log)
    number, log.gone = known.number, gone
    marks = [log.signatures[n].tobytes() for n in log.gone] + [log.ids[n, 0].tobytes() for n in log.gone]
    held = [file.read_bytes() for file in files(tmp_path)]
    assert all(any(mark in data for data in held) for mark in marks)
    if how == "at the next start":
        known = open_index(tmp_path, log)
    else:
        if how == "after a kill":  # behind the manifest, before the old files were deleted
            before = {file: file.read_bytes() for file in files(tmp_path)}
            open_index(tmp_path, log)
            for file, data in before.items():
                file.write_bytes(data)
        forget_sketches(known.folder, log)
        known = open_index(tmp_path, log)
    held = [file.read_bytes() for file in files(tmp_path)]
    assert not any(mark in data for mark in marks for data in held)
    assert held and known.number == number + 1 and not known.notes and known.written > 3
    log.follow(known, 5)
    assert len(known) == 1800 - 3


def test_forgetting_deletes_an_index_that_is_not_believed_and_makes_none_where_there_is_none(tmp_path) -> None:
    log = SketchLog(0, [300] * 4)
    known = filled(tmp_path / "a", log)
    file = files(tmp_path)[0]
    file.write_bytes(file.read_bytes()[:-8])
    forget_sketches(known.folder, log)
    assert not files(tmp_path) and not list(tmp_path.rglob("manifest*"))
    again = open_index(tmp_path / "a", log)
    log.follow(again, 3)
    forget_sketches(folder_of(tmp_path / "b"), log)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("gone", [[], [6], [6, 5]])
def test_an_index_that_leaves_out_what_this_lake_has_not_forgotten_is_built_again(tmp_path, gone) -> None:
    """The lake is a copy from before; or another document was forgotten in the copy."""
    log, other = SketchLog(0, [300] * 4), SketchLog(0, [300] * 4)
    known = filled(tmp_path, log)
    log.gone, other.gone, other.reached = [5], gone, 3
    forget_sketches(known.folder, log)
    again = open_index(tmp_path, other)
    assert again.window == -1 and "has not forgotten" in again.notes[0]
    other.follow(again, 3)
    again.settle()
    assert again.number == open_index(tmp_path, other).number, "nothing is to be left out of what was just built"


@pytest.mark.slow
def test_every_flipped_bit_is_found_and_no_answer_is_another_one(tmp_path) -> None:
    log = SketchLog(0, [60, 60, 60])
    filled(tmp_path, log)
    everything, answer, rng = log.of(np.arange(180)), log.plain(2), np.random.default_rng(0)
    wanted, told, tried = answer.look(range(180)), 0, 0
    for file in files(tmp_path):
        whole = file.read_bytes()
        for place in [*range(64), *rng.integers(0, len(whole), 60).tolist()]:
            data = bytearray(whole)
            data[place] ^= 1 << int(rng.integers(8))
            file.write_bytes(data)
            known, tried = open_index(tmp_path, log), tried + 1
            if not known.notes:
                log.follow(known, 2)
                with suppress(LostError):
                    assert known.look(*everything[1:]).tolist() == wanted, (file, place)
            told += len(known.notes) == 1 and "is built again" in known.notes[0] and known.window == -1
        file.write_bytes(whole)
    assert told == tried, "all sketches were asked for, so every line and every row was looked at"


def test_a_band_without_a_sketch_and_sketches_of_another_version_are_not_believed(tmp_path) -> None:
    log = SketchLog(0, [300] * 4)
    known = filled(tmp_path, log)
    known.files = [file for file in known.files if file.facts.kind == "bands"]
    with pytest.raises(LostError):
        known.look(*log.of(np.arange(9))[1:])
    assert "without a sketch" in known.notes[0] and known.window == -1
    log.follow(known, 3)
    path = f"{KNOWN_SKETCHES}/manifest-{known.number:08d}.json"
    manifest = known.folder.read(known.number)
    assert manifest.mark == f"{manifest.window} {sketch_version()}" and not open_index(tmp_path, log).notes
    write_json(known.folder.store, path, msgspec.structs.replace(manifest, mark=f"{manifest.window} 0123456789abcdef"))
    assert "is not the same" in open_index(tmp_path, log).notes[0]
