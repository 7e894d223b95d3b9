"""Is a last checkpoint written by all ranks again if one could not, and is that heard of?"""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.runtime.actors import Local
from cluster.storage.store import Store
from data_ops.lake.lake import Lake
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.files import sha256_of
from ray_jobs.checkpoints.position import Position, TrainingState
from ray_jobs.store.lease import acquire
from ray_jobs.training.actors.commit_coordinator import Claim
from ray_jobs.training.actors.coordinator import Coordinator
from ray_jobs.training.worker import saver as module
from ray_jobs.training.worker.saver import Author, Link, Saver
from tests.support.checkpoints import state_at

WORLD = 2


@dataclass
class Engine:
    """A rank's engine, of which a snapshot is what the disk lets through; counts its probes, which are collective."""

    failures: int = 0
    probes: int = 0
    written: list[Path] = field(default_factory=list)

    def probe(self) -> float:
        self.probes += 1
        return 1.0

    def write(self, place: Path) -> Any:
        self.written.append(place)
        if self.failures:
            self.failures -= 1
            raise OSError("No space left on device")
        place.write_bytes(b"weights")
        return SimpleNamespace(size_bytes=7, sha256=sha256_of(place), header=None)


class Together:
    """`all_reduce_max` over threads."""

    def __init__(self) -> None:
        self.told: list[int] = []
        self.barrier = threading.Barrier(WORLD, timeout=120)

    def all_reduce_max(self, value: int) -> int:
        self.told.append(value)
        self.barrier.wait()
        most = max(self.told[-WORLD:])
        self.barrier.wait()
        return most


class OneAtATime(Local[Coordinator]):
    """The coordinator, called by several threads as an actor is: one call at a time."""

    def __init__(self, instance: Coordinator) -> None:
        super().__init__(instance)
        self.lock = threading.Lock()

    def call(self, method: Any, /, *arguments: Any) -> Any:
        with self.lock:
            return super().call(method, *arguments)


@pytest.fixture
def coordinator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Coordinator:
    store = Store.open(str(tmp_path))
    Lake(store).create()
    monkeypatch.setattr(module.checkpoint, "snapshot", lambda engine, buffers, average: engine)
    monkeypatch.setattr(module, "all_reduce_max", Together().all_reduce_max)
    return Coordinator(store.uri, Claim("news", acquire(store, "news"), 2))


def described(position: Position, probe_loss: float) -> TrainingState:
    return state_at(position.step)


def finish(coordinator: Coordinator, engines: list[Engine]) -> list[str]:
    """Let all ranks end at step 5; what each of them raised."""
    raised, actor = [""] * WORLD, OneAtATime(coordinator)

    def rank_ends(rank: int) -> None:
        author = Author(
            coordinator.commits.store, "news", "a1", rank, WORLD, lambda position, probe: state_at(position.step)
        )
        link = Link(actor, lambda event: None, lambda: None)
        saver = Saver(author, engines[rank], link, 60.0, 0)  # type: ignore[arg-type]
        try:
            saver.finish(Position(step=5, step_in_round=5))
        except OSError as error:
            raised[rank] = str(error)

    threads = [threading.Thread(target=rank_ends, args=(rank,)) for rank in range(WORLD)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return raised


@pytest.mark.parametrize("bad", range(WORLD))
def test_one_rank_that_fails_makes_all_write_again_elsewhere(coordinator: Coordinator, bad: int) -> None:
    engines = [Engine(failures=int(rank == bad)) for rank in range(WORLD)]
    assert finish(coordinator, engines) == ["", ""]
    assert [engine.probes for engine in engines] == [2, 2], "it is collective: a rank alone would wait for ever"
    assert all(len(set(engine.written)) == 2 for engine in engines)
    done = commits.latest(coordinator.commits.store, "news")
    assert done is not None and all("a1-again" in file.path for file in done.files)
    assert any(f"worker {bad} says: No space left" in getattr(event, "text", "") for event in coordinator.log.events)


def test_a_disk_that_stays_full_ends_every_rank(coordinator: Coordinator) -> None:
    engines = [Engine(), Engine(failures=9)]
    assert all("could not be written; free space" in text for text in finish(coordinator, engines))
    assert commits.commits(coordinator.commits.store, "news") == []


def test_an_error_of_the_board_is_heard_whichever_rank_it_met(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*given: Any) -> bool:
        raise OSError("503 Slow Down")

    real = commits.publish
    monkeypatch.setattr(
        commits, "publish", lambda *given: (monkeypatch.setattr(commits, "publish", real), refused())[1]
    )
    assert finish(coordinator, [Engine(), Engine()]) == ["", ""]
    assert commits.commits(coordinator.commits.store, "news") == [5]
    assert any("503 Slow Down" in getattr(event, "text", "") for event in coordinator.log.events)
