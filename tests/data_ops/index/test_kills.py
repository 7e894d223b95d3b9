"""Is an index whole, and right, after SIGKILL before or after any change of its files?"""

import shutil

import numpy as np
import pytest

from cluster.storage.store import Store
from data_ops.index.folder import IndexFolder
from data_ops.index.known_ids import KnownIds
from tests.data_ops.index.dying import (
    GONE,
    WINDOWS,
    forget,
    keep_index,
    keep_sketches,
    log,
    open_sketches,
    sketch_log,
)
from tests.support.imports.forks import fork_server


@pytest.mark.slow
def test_killed_at_every_act_one_after_the_other_it_loses_nothing_and_says_nothing(tmp_path):
    context, acts, code = fork_server("tests.data_ops.index.dying"), 0, -9
    reached = -1
    while code != 0:
        code, acts = run(context, keep_index, tmp_path, acts), acts + 1
        known = KnownIds(IndexFolder(Store.open(str(tmp_path)), "index/ids"), str)
        assert not known.notes and known.window >= reached and known.contains(log().upto(known.window)).all()
        assert len(known) == len(log().upto(known.window))
        reached = known.window
    assert acts > 8 and reached == WINDOWS - 1


@pytest.mark.slow
def test_killed_at_every_act_an_index_of_sketches_answers_as_if_it_had_lived(tmp_path):
    context, everything, window, codes = fork_server("tests.data_ops.index.dying"), np.arange(30 * WINDOWS), -1, [1]
    sketches = sketch_log()
    sketches.reached = WINDOWS - 1
    while codes[-1] != 0:
        codes.append(run(context, keep_sketches, tmp_path, len(codes) - 1))
        known = open_sketches(str(tmp_path), -1, sketches)
        assert not known.notes and known.window >= window and len(known) == 30 * (known.window + 1)
        assert known.look(*sketches.of(everything)[1:]).tolist() == sketches.plain(known.window).look(everything)
        window = known.window
    assert window == WINDOWS - 1 and len(codes) > 8


@pytest.mark.slow
def test_killed_at_every_act_of_forgetting_it_is_whole_and_in_the_end_nothing_of_them_is_on_the_disk(tmp_path):
    keep_sketches(str(tmp_path / "a"), -1)
    context, everything, codes = fork_server("tests.data_ops.index.dying"), np.arange(30 * WINDOWS), [1]
    sketches = sketch_log()
    sketches.reached, sketches.gone = WINDOWS - 1, GONE
    answer, marks = sketches.plain(WINDOWS - 1).look(everything), [sketches.ids[n, 0].tobytes() for n in GONE]
    while codes[-1] != 0:
        codes.append(run(context, forget, tmp_path / "a", len(codes) - 1))
        shutil.copytree(tmp_path / "a", tmp_path / f"b{len(codes)}")  # who opens it completes what was begun
        known = open_sketches(str(tmp_path / f"b{len(codes)}"), -1, sketches)
        sketches.follow(known, WINDOWS - 1)
        assert not known.notes and known.look(*sketches.of(everything)[1:]).tolist() == answer
    held = [path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert len(held) > 2 and len(codes) > 4 and not any(mark in data for mark in marks for data in held)


def run(context, act, path, acts):
    """The exit code of a process that dies at an act, or not."""
    process = context.Process(target=act, args=(str(path), acts))
    process.start()
    process.join()
    assert process.exitcode in (0, -9)
    return process.exitcode
