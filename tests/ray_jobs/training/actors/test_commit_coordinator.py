"""Does a coordinator commit only what is whole, ours and further on?"""

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
from ray_jobs.store.lease import Heart, Lease, acquire
from ray_jobs.store.paths import checkpoint_folder
from ray_jobs.training.actors.commit_coordinator import Claim, CommitCoordinator, Receipt
from ray_jobs.training.actors.event_log import EventLog
from ray_jobs.training.events import event_kind
from tests.support.checkpoints import state_at


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with empty tables."""
    store = Store.open(str(tmp_path))
    Lake(store).create()
    return store


def new(store: Store, keep: int, lease: Lease, kind: type[CommitCoordinator] = CommitCoordinator) -> CommitCoordinator:
    """A coordinator of run `news`."""
    return kind(store, Lake(store), Claim("news", lease, keep), EventLog())


@pytest.fixture
def mine(store: Store) -> CommitCoordinator:
    """The coordinator of run `news`, used without Ray."""
    return new(store, 2, acquire(store, "news"))


def hand_in(mine: CommitCoordinator, rank: int, world: int, **where: Any) -> bool:
    """One rank's receipt."""
    path = f"{checkpoint_folder('news', where['step'], 'a1')}/rank-{rank:05d}.safetensors"
    mine.store.write(path, b"weights")
    return mine.take(Receipt("news", "a1", rank, world, StoredFile(path, 7, "0" * 64), state_at(**where)))


def test_a_checkpoint_is_committed_when_every_rank_has_handed_in(mine: CommitCoordinator) -> None:
    assert not hand_in(mine, 1, 2, step=5)
    assert commits.commits(mine.store, "news") == []
    assert hand_in(mine, 0, 2, step=5)
    assert commits.commits(mine.store, "news") == [5]
    assert [file.path[-17:-12] for file in commits.load(mine.store, "news", 5).files] == ["00000", "00001"]
    assert mine.lake.ledger("news")["step"].to_pylist() == [5]


def test_a_driver_that_lost_the_run_commits_nothing(mine: CommitCoordinator, store: Store) -> None:
    mine.lease = replace(mine.lease, token="of a claim before the newest")
    with pytest.raises(PermissionError, match="belongs to another driver now"):
        hand_in(mine, 0, 1, step=5)
    assert commits.commits(store, "news") == []
    assert mine.lake.ledger("news").num_rows == 0


def publish(store: Store, step: int, lease: int) -> None:
    """What a driver's mine does last: the manifest, without a look at the lease."""
    place = {"step": step, "round": 0, "step_in_round": step}
    path = f"{checkpoint_folder('news', step, 'zombie')}/rank-00000.safetensors"
    store.write(path, b"weights")
    done = commits.Commit("news", files=(StoredFile(path, 7, "0" * 64),), state=state_at(step, lease=lease), **place)
    assert commits.publish(store, done)


@pytest.mark.parametrize("late", [5, 9])
def test_what_a_driver_commits_after_it_lost_the_run_neither_blocks_nor_crowds_out(store: Store, late: int) -> None:
    first = acquire(store, "news")
    Heart(store, first).release()
    mine = new(store, 1, acquire(store, "news"))
    publish(store, late, first.number)
    assert hand_in(mine, 0, 1, step=5)
    assert commits.commits(store, "news") == [5]
    assert commits.load(store, "news", 5).state.lease == mine.lease.number
    found = commits.latest(store, "news")
    assert found is not None and found.step == 5
    assert any(f"checkpoint {late} is put aside" in getattr(event, "text", "") for event in mine.log.events)


def test_a_late_checkpoint_that_shows_between_look_and_commit_gives_way(store: Store) -> None:
    first = acquire(store, "news")
    Heart(store, first).release()

    class Slow(CommitCoordinator):
        def _check_forward(self, done: commits.Commit) -> None:
            publish(store, done.step, first.number)

    assert hand_in(new(store, 2, acquire(store, "news"), Slow), 0, 1, step=5)
    assert commits.load(store, "news", 5).state.lease == first.number + 1


def test_what_was_committed_before_the_run_was_taken_over_stays(store: Store) -> None:
    first = acquire(store, "news")
    publish(store, 3, first.number)
    Heart(store, first).release()
    mine = new(store, 2, acquire(store, "news"))
    assert hand_in(mine, 0, 1, step=5)
    assert commits.commits(store, "news") == [3, 5]


def test_a_checkpoint_counts_though_it_could_not_be_noted(
    mine: CommitCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(mine.lake, "add_ledger", full)
    assert hand_in(mine, 0, 1, step=5)
    assert commits.commits(mine.store, "news") == [5]
    assert [event_kind(event) for event in mine.log.events] == ["commit", "warning"]
    assert "checkpoint news/00000005 is committed, but not noted" in mine.log.events[1].text
    assert mine.receipts == {} and hand_in(mine, 0, 1, step=5), "a receipt that is handed in again is answered"
    assert mine.receipts == {} and len(mine.log.events) == 2, "it is neither kept nor committed once more"


def test_a_board_that_was_killed_before_it_noted_a_checkpoint_notes_it_when_asked_again(store: Store) -> None:
    lease = acquire(store, "news")
    coordinators = [new(store, 2, lease) for _ in range(2)]

    def killed(*given: Any) -> None:
        raise KeyboardInterrupt

    coordinators[0].lake.add_ledger = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        hand_in(coordinators[0], 0, 1, step=5)
    assert hand_in(coordinators[1], 0, 1, step=5)
    assert [event_kind(event) for event in coordinators[1].log.events] == ["commit"]
    assert read_stand(Lake(store), "news").checkpoint == "news/00000005"


def test_a_driver_that_lost_the_run_trains_nothing(mine: CommitCoordinator) -> None:
    mine.lease = replace(mine.lease, token="of a claim before the newest")
    with pytest.raises(PermissionError, match="trains nothing"):
        mine.begin_at(None)


@pytest.mark.slow
def test_a_note_of_a_driver_that_had_lost_the_run_does_not_move_the_ledger_back(store: Store) -> None:
    first = acquire(store, "news")
    old = new(store, 9, first)
    assert hand_in(old, 0, 1, step=5)
    Heart(store, first).release()
    mine = new(store, 9, acquire(store, "news"))
    mine.begin_at(5)
    assert hand_in(mine, 0, 1, step=8)
    record(mine.lake, commits.load(store, "news", 5), first)  # it was about to, and slept
    assert read_stand(mine.lake, "news").place == (0, 8)
    mine.begin_at(5)  # step 8 turned out to be damaged: going back is the holder's right
    assert read_stand(mine.lake, "news").place == (0, 5)
    mine.begin_at(None)
    assert read_stand(mine.lake, "news").place == (0, 0)


def test_a_driver_that_goes_on_where_the_ledger_stands_adds_no_note(store: Store) -> None:
    for expected in ([5], [5]):
        lease = acquire(store, "news")
        mine = new(store, 9, lease)
        assert mine.lake.ledger("news").num_rows or hand_in(mine, 0, 1, step=5)
        mine.begin_at(5)
        assert mine.lake.ledger("news")["step"].to_pylist() == expected
        Heart(store, lease).release()


def test_more_steps_that_stand_no_further_are_refused(mine: CommitCoordinator) -> None:
    assert hand_in(mine, 0, 1, step=5, round_=1, step_in_round=2)
    with pytest.raises(RuntimeError, match="work would be repeated"):
        hand_in(mine, 0, 1, step=8, round_=1, step_in_round=2)
    with pytest.raises(RuntimeError, match="work would be repeated"):
        hand_in(mine, 0, 1, step=8, round_=0, step_in_round=9)
    assert hand_in(mine, 0, 1, step=8, round_=2, step_in_round=0)
