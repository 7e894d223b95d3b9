"""Does the board commit only what is whole, ours and further on, and is a wish heard once?"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.storage import Store
from data_ops.lake import Lake
from ray_jobs import commit as commits
from ray_jobs.board import CHECKPOINT, GO, MOVE, STOP, Board
from ray_jobs.lease import acquire


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with empty tables."""
    store = Store.open(str(tmp_path))
    Lake(store).create()
    return store


@pytest.fixture
def board(store: Store) -> Board:
    """The board of run `news`, used without Ray."""
    return Board(store.uri, "news", 2, acquire(store, "news"))


def state(step: int, round_: int = 0, step_in_round: int | None = None) -> dict[str, Any]:
    """What a rank hands in besides its file."""
    inside = step if step_in_round is None else step_in_round
    return {"position": {"step": step, "round": round_, "step_in_round": inside}}


def hand_in(board: Board, rank: int, world: int, **where: Any) -> bool:
    """One rank's receipt."""
    path = f"{commits.folder('news', where['step'], 'a1')}/rank-{rank:05d}.safetensors"
    board.store.write(path, b"weights")
    return board.receipt("news", "a1", rank, world, commits.StoredFile(path, 7, "0" * 64), state(**where))


def test_a_checkpoint_is_committed_when_every_rank_has_handed_in(board: Board) -> None:
    assert not hand_in(board, 1, 2, step=5)
    assert commits.commits(board.store, "news") == []
    assert hand_in(board, 0, 2, step=5)
    assert commits.commits(board.store, "news") == [5]
    assert [file.path[-17:-12] for file in commits.load(board.store, "news", 5).files] == ["00000", "00001"]
    assert board.lake.ledger("news")["step"].to_pylist() == [5]


def test_a_driver_that_lost_the_run_commits_nothing(board: Board, store: Store) -> None:
    board.lease = replace(board.lease, token="of a claim before the newest")
    with pytest.raises(PermissionError, match="belongs to another driver now"):
        hand_in(board, 0, 1, step=5)
    assert commits.commits(store, "news") == []
    assert board.lake.ledger("news").num_rows == 0


def test_more_steps_that_stand_no_further_are_refused(board: Board) -> None:
    assert hand_in(board, 0, 1, step=5, round_=1, step_in_round=2)
    with pytest.raises(RuntimeError, match="work would be repeated"):
        hand_in(board, 0, 1, step=8, round_=1, step_in_round=2)
    with pytest.raises(RuntimeError, match="work would be repeated"):
        hand_in(board, 0, 1, step=8, round_=0, step_in_round=9)
    assert hand_in(board, 0, 1, step=8, round_=2, step_in_round=0)


def test_a_wish_is_heard_once_but_stop_for_ever(board: Board) -> None:
    assert board.beat([]) == GO
    board.ask(CHECKPOINT)
    board.ask(MOVE)
    board.ask(CHECKPOINT)  # a lesser wish does not take back a greater one
    assert [board.beat([]), board.beat([])] == [MOVE, GO]
    assert not board.stopping()
    board.ask(STOP)
    assert board.stopping()
    board.ask(MOVE)
    assert [board.beat([]), board.beat([])] == [STOP, STOP]


def test_silence_counts_from_the_first_sign_of_life_to_the_last(board: Board) -> None:
    assert not board.end_hung_workers(0.0)  # nobody trains yet
    board.beat([])
    assert not board.end_hung_workers(0.0)  # heard by a board that was restarted: it knows nobody to kill
    board.leave()
    board.join("a1", 0, None, "node-a")
    board.join("a1", 1, None, "node-b")
    assert board.where() == {"node-a", "node-b"}
    assert board.heard_at is None  # a start may take its time
    board.beat([])
    assert not board.end_hung_workers(3600.0)
    board.leave()
    assert not board.end_hung_workers(0.0)
    board.join("a2", 0, None, "node-c")
    assert board.where() == {"node-c"}
