"""Is the actor where a run's processes meet nothing but its parts?"""

from pathlib import Path

import pytest

from cluster.runtime.actors import Local, Remote
from cluster.storage.store import Store
from data_ops.ingest.events import Warned
from data_ops.lake.lake import Lake
from ray_jobs.store.lease import acquire
from ray_jobs.training.actors.commit_coordinator import Claim
from ray_jobs.training.actors.coordinator import Coordinator
from ray_jobs.training.directive import Directive


@pytest.fixture
def coordinator(tmp_path: Path) -> Local[Coordinator]:
    """The coordinator of run `news`, used without Ray."""
    store = Store.open(str(tmp_path))
    Lake(store).create()
    return Local(Coordinator(store.uri, Claim("news", acquire(store, "news"), 2)))


def test_a_beat_brings_events_and_takes_the_directive(coordinator: Local[Coordinator]) -> None:
    coordinator.call(Coordinator.ask, Directive.MOVE)
    assert coordinator.call(Coordinator.beat, [Warned(text="a word")]).get() is Directive.MOVE
    assert coordinator.call(Coordinator.beat, []).get() is Directive.GO
    events, *cursor = coordinator.call(Coordinator.read, "", 0).get()
    assert [event.text for event in events if isinstance(event, Warned)] == ["a word"]
    assert coordinator.call(Coordinator.read, *cursor).get().events == []


def test_a_stop_is_asked_for_until_the_end(coordinator: Local[Coordinator]) -> None:
    assert not coordinator.call(Coordinator.stopping).get()
    coordinator.call(Coordinator.ask, Directive.STOP)
    assert coordinator.call(Coordinator.stopping).get()
    assert [coordinator.call(Coordinator.beat, []).get() for _ in range(2)] == [Directive.STOP] * 2


def test_a_group_that_hangs_is_killed_and_that_is_said(coordinator: Local[Coordinator]) -> None:
    killed: list[str] = []

    class Silent(Remote[object]):
        def ready(self) -> Local[object]:  # type: ignore[override]
            return self  # type: ignore[return-value]

        def get(self, timeout_s: float) -> object:
            raise TimeoutError

        def kill(self, *, restart: bool = False) -> None:
            killed.append(str(self.actor))

    coordinator.call(Coordinator.join, "a1", 0, Silent("rank 0"), "node-a")
    assert coordinator.call(Coordinator.nodes).get() == {"node-a"}
    coordinator.call(Coordinator.end_hung_workers, 0.0)
    assert killed == [], "a start may take its time"
    coordinator.call(Coordinator.beat, [])
    coordinator.call(Coordinator.end_hung_workers, 0.0)
    assert killed == ["rank 0"]
    (told,) = coordinator.call(Coordinator.read, "", 0).get().events
    assert isinstance(told, Warned) and "worker 0 does not answer" in told.text
