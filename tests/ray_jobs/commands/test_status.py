"""Does `status` tell the living from the dead, and does `watch` end with the run?"""

import json
import os
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from cluster.storage.store import Store
from ray_jobs.commands.status import status, status_lines, watch
from ray_jobs.config.reading import read_config
from ray_jobs.store.lease import Heart, acquire


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "lake"))


def line(store: Store) -> str:
    return status_lines(status(store))[1]


def died_elsewhere(store: Store, silent_s: float) -> None:
    claim = replace(acquire(store, "news"), host="pod-7:1234:99", pid=41)
    store.write("runs/news/lease/00000000.json", json.dumps(asdict(claim)).encode())
    store.write("runs/news/lease/00000000.beat", b"1")
    path = store.local_path("runs/news/lease/00000000.beat")
    assert path is not None
    os.utime(path, (time.time() - silent_s, time.time() - silent_s))


def test_a_living_driver_a_dead_one_and_none(store: Store) -> None:
    died_elsewhere(store, silent_s=3 * 3600)
    assert line(store).endswith("died: process 41 on pod-7, last beat 3.0 h ago; the same command goes on")
    (run,) = status(store)["runs"]
    assert run["driver"] is None and run["died"] == "process 41 on pod-7"
    assert run["last_beat_s_ago"] == pytest.approx(3 * 3600, abs=60)
    heart = Heart(store, acquire(store, "news", 0.1))
    assert f"live: process {os.getpid()} on " in line(store)
    heart.release()
    assert line(store).endswith("at rest")


def test_watch_ends_with_a_run_whose_machine_is_gone(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    died_elsewhere(store, silent_s=3 * 3600)
    watch(read_config([], [f"store={store.uri}", "name=news"]))
    assert "nobody drives run news now" in capsys.readouterr().out
