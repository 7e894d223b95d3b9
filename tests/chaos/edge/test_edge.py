"""Does the edge schedule keep its promises, and does its checker see a promise that is broken?"""

import os
import tempfile
from pathlib import Path

import pytest

from data_ops.sources.files import growth, line_files
from tests.chaos.edge.world import NOBODY, run


@pytest.fixture
def folder():
    """A folder in which permissions count, also where the tests run as root."""
    with tempfile.TemporaryDirectory() as name:
        was_root = os.geteuid() == 0
        if was_root:
            os.chown(name, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        try:
            yield Path(name)
        finally:
            if was_root:
                os.seteuid(0)


@pytest.mark.slow
def test_every_complete_record_comes_once_whatever_its_writer_does(folder):
    faults = 0
    for seed in (100, 101, 102):
        (folder / str(seed)).mkdir()
        met, wrong = run(folder / str(seed), seed)
        assert wrong == []
        faults += sum(met.values())
    assert faults >= 150


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["rotation is not followed", "half a line is a record"])
def test_a_broken_promise_is_found(folder, monkeypatch, broken):
    if broken == "rotation is not followed":
        monkeypatch.setattr(growth, "renamed", lambda *given: None)
    else:
        monkeypatch.setattr(line_files, "is_object", lambda *given: True)
    wrong: list[str] = []
    for seed in range(100, 104):
        (folder / str(seed)).mkdir()
        wrong += run(folder / str(seed), seed)[1]
    assert wrong
