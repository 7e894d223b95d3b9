"""Does a forget keep everybody out exactly as long as it lives?"""

import json
import os
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from cluster.storage.store import Store
from ray_jobs.outcome import ConfigError
from ray_jobs.store import access, lease
from ray_jobs.store.access import FORGET, exclusive, refuse_while_forgetting, shared

pytestmark = pytest.mark.slow


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.3)
    monkeypatch.setattr(lease.acquire, "__defaults__", (0.3,))
    monkeypatch.setattr(access, "LEASE_SECONDS", 0.3)
    return Store.open(str(tmp_path))


def elsewhere(store: Store, name: str, silent_s: float) -> None:
    """A claim on another machine whose last beat was so long ago."""
    claim = replace(lease.acquire(store, name), host="pod-7:1234:99", pid=41)
    store.write(f"runs/{name}/lease/00000000.json", json.dumps(asdict(claim)).encode())
    store.write(f"runs/{name}/lease/00000000.beat", b"1")
    at = time.time() - silent_s
    for kind in ("json", "beat"):
        path = store.local_path(f"runs/{name}/lease/00000000.{kind}")
        assert path is not None
        os.utime(path, (at, at))


def test_a_forget_that_died_on_another_machine_is_taken_over(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    elsewhere(store, FORGET, silent_s=3 * 3600)
    refuse_while_forgetting(store, 0.3)
    assert "a forget (process 41 on pod-7) is silent" in caplog.text
    assert lease.unreleased(store, FORGET) is None, "who comes next does not have to wait"
    with shared(store):
        pass
    with exclusive(store):
        pass


def test_a_forget_that_beats_on_another_machine_keeps_everybody_out(store: Store) -> None:
    elsewhere(store, FORGET, silent_s=2)
    with pytest.raises(ConfigError, match=r"being forgotten in .* \(process 41 on pod-7\); start again when that is"):
        refuse_while_forgetting(store)
    with pytest.raises(ConfigError, match="being forgotten"), shared(store):
        pass


def test_a_run_that_died_on_another_machine_does_not_keep_a_forget_out(store: Store) -> None:
    elsewhere(store, "news", silent_s=3 * 3600)
    with exclusive(store, 0.3):
        pass
