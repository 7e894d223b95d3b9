"""Does what Ray Tune is given behave, as far as it can be asked without Ray?"""

import pickle
import threading
from types import SimpleNamespace

import pytest
from ray import cloudpickle

from tests.tune.test_searchers import SPACE, spec_of
from tune import search, searchers
from tune.policy import WORST, Member, Population


def test_what_tune_carries_along_pickles_as_nothing():
    hooks = search.Hooks(lambda *_: None, lambda *_: None, threading.Event())
    population = Population([Member(0, n, SPACE.draw(0, n)) for n in range(4)], 2, SPACE, 0, spec_of)
    for thing in (
        search._Tell(hooks),
        search._StopAll(hooks.stopped),
        searchers.Stretches(population, lambda spec: None),
    ):
        cloudpickle.loads(cloudpickle.dumps(thing))
    assert pickle.loads(pickle.dumps(searchers.Here(threading.Lock()))).thing is None  # noqa: S301 - our own bytes


def test_a_stop_is_heard():
    stopped = threading.Event()
    stopper = search._StopAll(stopped)
    assert not stopper.stop_all()
    stopped.set()
    assert stopper.stop_all()


def test_a_verdict_reaches_the_driver_and_a_sign_of_life_does_not():
    heard = []
    hooks = search.Hooks(lambda spec, found: heard.append((spec, found["score"])), lambda *_: None, threading.Event())
    tell, trial = search._Tell(hooks), SimpleNamespace(config={"spec": "a"})
    tell.on_trial_result(1, [], trial, {"trained": 5})
    tell.on_trial_result(2, [], trial, {"score": 2.5, "tokens": 5})
    assert heard == [("a", 2.5)]


def test_a_failed_trial_says_its_last_line():
    heard = []
    hooks = search.Hooks(lambda *_: None, lambda *told: heard.append(told), threading.Event())
    error = RuntimeError("Traceback\n  somewhere\nValueError: row 3 is odd\n")
    trial = SimpleNamespace(config={"spec": "a"}, get_pickled_error=lambda: error, get_error=lambda: None)
    search._Tell(hooks).on_trial_error(1, [], trial)
    assert heard == [("a", "ValueError: row 3 is odd")]


def test_a_trial_that_diverged_has_the_worst_score():
    trainable = search._Trainable.__new__(search._Trainable)
    trainable.running = SimpleNamespace(advance=lambda: {"score": None, "tokens": 5, "done": True})
    assert trainable.step() == {"score": WORST, "tokens": 5, "done": True, "diverged": True}


@pytest.mark.parametrize("kind", ["asha", "median", "none", "pbt"])
def test_every_scheduler_is_one_of_tunes_and_counts_tokens(kind):
    asked = search.Search(kind, (100, 400, 1600), 4, 1, [{"CPU": 1.0}], "/nowhere", 0)
    made = search._scheduler(asked)
    assert getattr(made, "_time_attr", "tokens") == "tokens"
    if kind == "asha":
        rungs = [milestone for milestone, _ in made._brackets[0]._rungs]
        assert rungs == [1600, 400, 100], "a rung at every mark"
