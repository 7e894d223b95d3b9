"""Do ranks follow the rank 0 of their own start, and nobody else?"""

import threading

import pytest

from cluster.storage.state import publish_json
from cluster.storage.store import Store
from ray_jobs.library.ranks import Agreed, Greeting, Ranks, Welcome
from ray_jobs.outcome import ConfigError
from ray_jobs.store.lease import Heart, acquire

pytestmark = pytest.mark.slow


@pytest.fixture
def store(tmp_path):
    return Store.open(str(tmp_path))


def open_ranks(store, *, worlds=(2, 2)):
    """Both ranks of a start, rank 1 first."""
    closed, answers = threading.Event(), {}

    def follow():
        try:
            answers[1] = Ranks(store, "mine", (1, worlds[1]), None, closed)
        except ConfigError as error:
            answers[1] = error

    thread = threading.Thread(target=follow)
    thread.start()
    heart = Heart(store, acquire(store, "mine"))
    leader = Ranks(store, "mine", (0, worlds[0]), heart.lease, closed)
    thread.join(30)
    return leader, answers.get(1), heart, closed


def test_what_rank_0_decides_is_heard_in_its_phase_alone(store):
    leader, follower, heart, closed = open_ranks(store)
    leader.decide(1, "end", 7)
    assert follower.wait_for(lambda: follower.decided(1, "end")) == 7
    assert follower.decided(2, "end") is follower.decided(1, "begin") is None
    closed.set()
    heart.release()


def test_what_a_rank_0_that_was_killed_left_behind_binds_nobody(store):
    publish_json(store, "runs/mine/ranks/00000000-000001-end.json", Agreed(3))
    publish_json(store, "runs/mine/ranks/hello-old.json", Greeting(1, 2))
    publish_json(store, "runs/mine/ranks/welcome-old.json", Welcome(0, 2))
    Heart(store, acquire(store, "mine")).release()
    leader, follower, heart, closed = open_ranks(store)
    assert follower.lease == leader.lease > 0
    assert follower.decided(1, "end") is None
    closed.set()
    heart.release()


def test_ranks_that_count_others_are_refused(store):
    _, said, heart, closed = open_ranks(store, worlds=(2, 3))
    assert "rank 1 counts world=3 ranks, rank 0 of run mine counts 2" in str(said)
    closed.set()
    heart.release()


def test_a_rank_whose_rank_0_is_gone_says_so(store):
    _, follower, heart, closed = open_ranks(store)
    follower.check_alive()
    heart.release()
    with pytest.raises(RuntimeError, match="rank 0 does not feed run mine any more"):
        follower.check_alive()
    closed.set()


def test_a_rank_that_does_not_exist_is_refused(store):
    with pytest.raises(ConfigError, match="rank=2 of world=2 ranks"):
        Ranks(store, "mine", (2, 2), None, threading.Event())
