"""Is the next trial the one that a plan asks for, or that TPE proposes?"""

import threading
from types import SimpleNamespace

import pytest
from ray import cloudpickle
from ray.tune.search import Searcher

from tune import searchers
from tune.policy import Member, Population
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


def test_a_population_is_asked_generation_by_generation_and_then_finished():
    population = Population([Member(0, n, SPACE.draw(0, n)) for n in range(4)], 2, SPACE, 0, spec_of)
    searcher = searchers.Stretches(population, lambda spec: None)
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
    searcher = searchers.Stretches(population, lambda spec: None)
    for n in range(4):
        searcher.suggest(f"a{n}")
        searcher.on_trial_complete(f"a{n}", {"trained": 64} if n % 2 else None)
    assert (population.generation, population.scores) == (0, {})


def test_what_is_known_is_not_asked_for_again():
    population = Population([Member(0, n, SPACE.draw(0, n)) for n in range(4)], 2, SPACE, 0, spec_of)
    searcher = searchers.Stretches(population, lambda spec: 2.0 if spec.key < "g01m02" else None)
    assert searcher.has_more()
    assert searcher.suggest("a")["spec"].key == "g01m02"
    done = Population([Member(0, n, SPACE.draw(0, n)) for n in range(4)], 2, SPACE, 0, spec_of)
    assert not searchers.Stretches(done, lambda spec: 2.0).has_more()
    assert done.is_done


def test_tpe_proposes_points_of_the_space_and_first_those_it_had_proposed():
    pytest.importorskip("optuna")
    known = [SPACE.draw(7, n) for n in range(2)]
    seen = []

    def ask(point):
        seen.append(point)
        return SimpleNamespace(key=str(len(seen)))

    sampler = searchers.tpe(SPACE, known, ask, 2**40)
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
    sampler = searchers.tpe(SPACE, [], lambda point: None, 0)
    assert sampler.suggest("t") is None
