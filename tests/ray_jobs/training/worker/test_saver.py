"""Is a last checkpoint written by all ranks again if one could not, and is that heard of?"""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.storage.store import Store
from data_ops.lake.lake import Lake
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.files import sha256_of
from ray_jobs.checkpoints.position import Position
from ray_jobs.store.lease import acquire
from ray_jobs.training.actors.coordinator import Board
from ray_jobs.training.worker import saver as module
from ray_jobs.training.worker.saver import Author, Saver
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
        return SimpleNamespace(size_bytes=7, sha256=sha256_of(place))


class Together:
    """`worst` over threads."""

    def __init__(self) -> None:
        self.told: list[int] = []
        self.barrier = threading.Barrier(WORLD, timeout=120)

    def worst(self, value: int) -> int:
        self.told.append(value)
        self.barrier.wait()
        most = max(self.told[-WORLD:])
        self.barrier.wait()
        return most


class Actor:
    """Calls of the board, one at a time, with Ray's way to write them."""

    def __init__(self, board: Board) -> None:
        self.board, self.lock = board, threading.Lock()

    def __getattr__(self, name: str) -> Any:
        def call(*given: Any) -> Any:
            with self.lock:
                return getattr(self.board, name)(*given)

        return SimpleNamespace(remote=call)


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    store = Store.open(str(tmp_path))
    Lake(store).create()
    monkeypatch.setattr(module.ray, "get", lambda answer: answer)
    monkeypatch.setattr(module.checkpoint, "snapshot", lambda engine, buffers: engine)
    monkeypatch.setattr(module, "worst", Together().worst)
    return Board(store.uri, "news", 2, acquire(store, "news"))


def finish(board: Board, engines: list[Engine]) -> list[str]:
    """Let all ranks end at step 5; what each of them raised."""
    raised = [""] * WORLD

    def rank_ends(rank: int) -> None:
        author = Author(board.store, "news", "a1", rank, WORLD, lambda position, probe: state_at(position.step))
        saver = Saver(author, engines[rank], Actor(board), lambda event: None, lambda: None, 60.0, 0)  # type: ignore[arg-type]
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
def test_one_rank_that_fails_makes_all_write_again_elsewhere(board: Board, bad: int) -> None:
    engines = [Engine(failures=int(rank == bad)) for rank in range(WORLD)]
    assert finish(board, engines) == ["", ""]
    assert [engine.probes for engine in engines] == [2, 2], "it is collective: a rank alone would wait for ever"
    assert all(len(set(engine.written)) == 2 for engine in engines)
    done = commits.latest(board.store, "news")
    assert done is not None and all("a1-again" in file.path for file in done.files)
    assert any(f"worker {bad} says: No space left" in getattr(event, "text", "") for event in board.events)


def test_a_disk_that_stays_full_ends_every_rank(board: Board) -> None:
    engines = [Engine(), Engine(failures=9)]
    assert all("could not be written; free space" in text for text in finish(board, engines))
    assert commits.commits(board.store, "news") == []


def test_an_error_of_the_board_is_heard_whichever_rank_it_met(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*given: Any) -> bool:
        raise OSError("503 Slow Down")

    real = commits.publish
    monkeypatch.setattr(
        commits, "publish", lambda *given: (monkeypatch.setattr(commits, "publish", real), refused())[1]
    )
    assert finish(board, [Engine(), Engine()]) == ["", ""]
    assert commits.commits(board.store, "news") == [5]
    assert any("503 Slow Down" in getattr(event, "text", "") for event in board.events)
