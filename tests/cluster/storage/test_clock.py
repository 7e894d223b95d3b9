"""Is a file's age told by the clock that dated it?"""

import os
import time
from pathlib import Path

import pytest

from cluster.storage.clock import store_time, written_s_ago
from cluster.storage.store import Store


def test_an_age_is_told_by_the_store_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(str(tmp_path))
    store.write("runs/a/beat", b"1")
    os.utime(tmp_path / "runs/a/beat", (time.time() - 3600, time.time() - 3600))
    monkeypatch.setattr(time, "time", lambda: 0.0)  # whatever this machine believes
    age = written_s_ago(store, "runs/a/beat")
    assert age is not None and 3599 < age < 3700
    assert written_s_ago(store, "runs/a/none") is None
    assert store_time(store, "runs/a") > 1.6e9
    assert os.listdir(tmp_path / "runs/a") == ["beat"]  # noqa: PTH208


def test_a_file_from_the_future_is_told_by_its_sign(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    store.write("runs/a/beat", b"1")
    os.utime(tmp_path / "runs/a/beat", (time.time() + 3600, time.time() + 3600))
    assert written_s_ago(store, "runs/a/beat") == pytest.approx(-3600, abs=60)
