"""Does the board commit only what is whole, ours and further on, and is a wish heard once?"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.storage.store import Store
from data_ops.audit.account import read_stand
from data_ops.lake.lake import Lake
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.ledger import record
from ray_jobs.checkpoints.position import StoredFile
from ray_jobs.store.lease import Heart, acquire
from ray_jobs.store.paths import checkpoint_folder
from ray_jobs.training.actors.coordinator import CHECKPOINT, GO, MOVE, STOP, Board
from ray_jobs.training.events import kind_of
from tests.support.checkpoints import state_at


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


def hand_in(board: Board, rank: int, world: int, **where: Any) -> bool:
    """One rank's receipt."""
    path = f"{checkpoint_folder('news', where['step'], 'a1')}/rank-{rank:05d}.safetensors"
    board.store.write(path, b"weights")
    return board.receipt("news", "a1", rank, world, StoredFile(path, 7, "0" * 64), state_at(**where))


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


def publish(store: Store, step: int, lease: int) -> None:
    """What a driver's board does last: the manifest, without a look at the lease."""
    place = {"step": step, "round": 0, "step_in_round": step}
    path = f"{checkpoint_folder('news', step, 'zombie')}/rank-00000.safetensors"
    store.write(path, b"weights")
    done = commits.Commit("news", files=(StoredFile(path, 7, "0" * 64),), state=state_at(step, lease=lease), **place)
    assert commits.publish(store, done)


@pytest.mark.parametrize("late", [5, 9])
def test_what_a_driver_commits_after_it_lost_the_run_neither_blocks_nor_crowds_out(store: Store, late: int) -> None:
    first = acquire(store, "news")
    Heart(store, first).release()
    board = Board(store.uri, "news", 1, acquire(store, "news"))
    publish(store, late, first.number)
    assert hand_in(board, 0, 1, step=5)
    assert commits.commits(store, "news") == [5]
    assert commits.load(store, "news", 5).state.lease == board.lease.number
    found = commits.latest(store, "news")
    assert found is not None and found.step == 5
    assert any(f"checkpoint {late} is put aside" in getattr(event, "text", "") for event in board.events)


def test_a_late_checkpoint_that_shows_between_look_and_commit_gives_way(store: Store) -> None:
    first = acquire(store, "news")
    Heart(store, first).release()

    class Slow(Board):
        def _check_forward(self, done: commits.Commit) -> None:
            publish(store, done.step, first.number)

    assert hand_in(Slow(store.uri, "news", 2, acquire(store, "news")), 0, 1, step=5)
    assert commits.load(store, "news", 5).state.lease == first.number + 1


def test_what_was_committed_before_the_run_was_taken_over_stays(store: Store) -> None:
    first = acquire(store, "news")
    publish(store, 3, first.number)
    Heart(store, first).release()
    board = Board(store.uri, "news", 2, acquire(store, "news"))
    assert hand_in(board, 0, 1, step=5)
    assert commits.commits(store, "news") == [3, 5]


def test_a_checkpoint_counts_though_it_could_not_be_noted(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(board.lake, "add_ledger", full)
    assert hand_in(board, 0, 1, step=5)
    assert commits.commits(board.store, "news") == [5]
    assert [kind_of(event) for event in board.events] == ["commit", "warning"]
    assert "checkpoint news/00000005 is committed, but not noted" in board.events[1].text


def test_a_board_that_was_killed_before_it_noted_a_checkpoint_notes_it_when_asked_again(store: Store) -> None:
    lease = acquire(store, "news")
    boards = [Board(store.uri, "news", 2, lease) for _ in range(2)]

    def killed(*given: Any) -> None:
        raise KeyboardInterrupt

    boards[0].lake.add_ledger = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        hand_in(boards[0], 0, 1, step=5)
    assert hand_in(boards[1], 0, 1, step=5)
    assert [kind_of(event) for event in boards[1].events] == ["commit"]
    assert read_stand(Lake(store), "news").checkpoint == "news/00000005"


def test_a_driver_that_lost_the_run_trains_nothing(board: Board) -> None:
    board.lease = replace(board.lease, token="of a claim before the newest")
    with pytest.raises(PermissionError, match="trains nothing"):
        board.stand(None)


def test_a_note_of_a_driver_that_had_lost_the_run_does_not_move_the_ledger_back(store: Store) -> None:
    first = acquire(store, "news")
    old = Board(store.uri, "news", 9, first)
    assert hand_in(old, 0, 1, step=5)
    Heart(store, first).release()
    board = Board(store.uri, "news", 9, acquire(store, "news"))
    board.stand(5)
    assert hand_in(board, 0, 1, step=8)
    record(board.lake, commits.load(store, "news", 5), first)  # it was about to, and slept
    assert read_stand(board.lake, "news").place == (0, 8)
    board.stand(5)  # step 8 turned out to be damaged: going back is the holder's right
    assert read_stand(board.lake, "news").place == (0, 5)
    board.stand(None)
    assert read_stand(board.lake, "news").place == (0, 0)


def test_a_driver_that_goes_on_where_the_ledger_stands_adds_no_note(store: Store) -> None:
    for expected in ([5], [5]):
        lease = acquire(store, "news")
        board = Board(store.uri, "news", 9, lease)
        assert board.lake.ledger("news").num_rows or hand_in(board, 0, 1, step=5)
        board.stand(5)
        assert board.lake.ledger("news")["step"].to_pylist() == expected
        Heart(store, lease).release()


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
