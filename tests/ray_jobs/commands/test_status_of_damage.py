"""Does `headrace status` tell about everything that can be read, and name what cannot?"""

from pathlib import Path

import pytest

from cluster.storage.store import Store
from data_ops.lake.lake import Lake
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.commands.status import status, status_lines
from ray_jobs.store.access import exclusive
from ray_jobs.store.lease import Heart, acquire
from ray_jobs.store.paths import CHAMPION
from tests.support.checkpoints import commit_at


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with two runs that are at rest."""
    store = Store.open(str(tmp_path))
    Lake(store).create()
    for run in ("news", "wire"):
        Heart(store, acquire(store, run)).release()
        commits.publish(store, commit_at(run, 3, 0, 3))
    return store


def test_one_damaged_lease_hides_no_other_run(store: Store) -> None:
    store.write("runs/news/lease/00000000.json", b'{"run": "ne\x00')
    store.write(CHAMPION, b"[]")
    found = status(store)
    assert [run["name"] for run in found["runs"]] == ["wire"]
    assert found["runs"][0]["step"] == 3
    lines = "\n".join(status_lines(found))
    assert "damaged   run news: " in lines
    assert "runs/news/lease/00000000.json is damaged" in lines
    assert "registry/champion.json is damaged" in lines


def test_a_manifest_and_a_claim_that_nobody_can_have_written_hide_nothing(store: Store) -> None:
    store.write("runs/news/checkpoints/00000007.json", b"{}")
    store.write("runs/news/lease/abc.json", b"{}")
    found = status(store)
    assert [(run["name"], run["step"]) for run in found["runs"]] == [("news", 3), ("wire", 3)]


def test_a_damaged_summary_hides_nothing(store: Store) -> None:
    for content in (b"{", b'{"loss": 3}', b"\xff"):
        store.write("runs/news/summary.json", content)
        found = status(store)
        assert [(run["name"], run["loss"]) for run in found["runs"]] == [("news", None), ("wire", None)]
        assert found["damaged"] == []


@pytest.mark.slow
def test_a_run_whose_lease_is_damaged_is_known_by_its_heart(store: Store) -> None:
    store.write("runs/news/lease/00000000.json", b"{}")
    with exclusive(store, wait_seconds=0.5):
        pass  # it was released: nobody drives it
    store.write("runs/news/lease/00000000.beat", b"1.5")
    with exclusive(store, wait_seconds=0.5):
        pass  # its heart does not beat
