"""Does what Ray Tune is given behave, as far as it can be asked without Ray?"""

import pickle
import threading
from types import SimpleNamespace

import pytest
from ray import cloudpickle
from ray.tune.search import Searcher

from tune import search
from tune.policy import WORST, Member, Population
from tune.space import read_space

SPACE = read_space(
    {
        "optim.lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1},
        "optim.schedule.kind": ["constant", "cosine"],
    }
)


def spec_of(thing):
    """What a driver would ask for; a lock stands for everything that cannot be pickled."""
    return SimpleNamespace(key=getattr(thing, "key", str(thing)), lock=threading.Lock())


def test_what_tune_carries_along_pickles_as_nothing():
    hooks = search.Hooks(lambda *_: None, lambda *_: None, threading.Event())
    population = Population([Member(0, n, SPACE.draw(0, n)) for n in range(4)], 2, SPACE, 0, spec_of)
    for thing in (
        search._Tell(hooks),
        search._StopAll(hooks.stopped),
        search._Stretches(population, lambda spec: None),
    ):
        cloudpickle.loads(cloudpickle.dumps(thing))
    assert pickle.loads(pickle.dumps(search._Here(threading.Lock()))).thing is None  # noqa: S301 - our own bytes


def test_a_stop_is_heard():
    stopped = threading.Event()
    stopper = search._StopAll(stopped)
    assert not stopper.stop_all()
    stopped.set()
    assert stopper.stop_all()


def test_a_population_is_asked_generation_by_generation_and_then_finished():
    population = Population([Member(0, n, SPACE.draw(0, n)) for n in range(4)], 2, SPACE, 0, spec_of)
    searcher = search._Stretches(population, lambda spec: None)
    first = [searcher.suggest(f"a{n}")["spec"].key for n in range(4)]
    assert first == ["g00m00", "g00m01", "g00m02", "g00m03"]
    assert searcher.suggest("early") is None
    for n in range(3):
        searcher.on_trial_complete(f"a{n}", {"score": float(n)})
    assert searcher.suggest("early") is None
    searcher.on_trial_complete("a3", error=True)
    second = [searcher.suggest(f"b{n}")["spec"].key for n in range(4)]
    assert second == ["g01m00", "g01m01", "g01m02", "g01m03"]
    assert population.members[3].donor == "g00m00", "what failed takes over from the best"
    assert searcher.suggest("late") == Searcher.FINISHED


def test_who_is_stopped_on_its_way_is_no_failure():
    population = Population([Member(0, n, SPACE.draw(0, n)) for n in range(4)], 2, SPACE, 0, spec_of)
    searcher = search._Stretches(population, lambda spec: None)
    for n in range(4):
        searcher.suggest(f"a{n}")
        searcher.on_trial_complete(f"a{n}", {"trained": 64} if n % 2 else None)
    assert (population.generation, population.scores) == (0, {})


def test_what_is_known_is_not_asked_for_again():
    population = Population([Member(0, n, SPACE.draw(0, n)) for n in range(4)], 2, SPACE, 0, spec_of)
    searcher = search._Stretches(population, lambda spec: 2.0 if spec.key < "g01m02" else None)
    assert searcher.has_more()
    assert searcher.suggest("a")["spec"].key == "g01m02"
    done = Population([Member(0, n, SPACE.draw(0, n)) for n in range(4)], 2, SPACE, 0, spec_of)
    assert not search._Stretches(done, lambda spec: 2.0).has_more()
    assert done.is_done


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


def test_tpe_proposes_points_of_the_space_and_first_those_it_had_proposed():
    pytest.importorskip("optuna")
    known = [SPACE.draw(7, n) for n in range(2)]
    seen = []

    def ask(point):
        seen.append(point)
        return SimpleNamespace(key=str(len(seen)))

    sampler = search._tpe(SPACE, known, ask, 2**40)
    for n in range(12):
        assert sampler.suggest(f"t{n}")["spec"].key == str(n + 1)
        sampler.on_trial_result(f"t{n}", {"trained": 3})
        sampler.on_trial_complete(f"t{n}", {"score": abs(seen[-1]["optim.lr"] - 1e-2), "training_iteration": 1})
    assert [p["optim.schedule.kind"] for p in seen[:2]] == [p["optim.schedule.kind"] for p in known]
    assert [p["optim.lr"] for p in seen[:2]] == pytest.approx([p["optim.lr"] for p in known], rel=1e-4)
    assert all(1e-4 <= p["optim.lr"] <= 1e-1 for p in seen)
    cloudpickle.dumps(sampler)


def test_tpe_waits_while_the_point_it_proposes_is_being_trained():
    pytest.importorskip("optuna")
    sampler = search._tpe(SPACE, [], lambda point: None, 0)
    assert sampler.suggest("t") is None
