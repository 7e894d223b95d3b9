"""Is the average the one that was promised, put in place without a trace, and kept by any number of ranks?"""

import numpy as np
import pytest
import torch

from models.engine import zero
from models.engine.average import WeightAverage
from models.engine.checkpoint import read_full_weights, restore_engine, snapshot
from tests.models.engine.test_engine import global_batch, make, train


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_averaged_weights_are_scored_and_training_goes_on_as_if_nothing_were(stage, tmp_path):
    plain, watched = make(stage, "fp32"), make(stage, "fp32")
    average = WeightAverage(watched, 0.5)
    train(plain, range(3))
    for step in range(3):
        train(watched, range(step, step + 1))
        average.update(10, 10 * (step + 1))
    rows = global_batch(0)
    before, _ = watched.evaluate(rows)
    with average.in_place():
        averaged, _ = watched.evaluate(rows)
    after, _ = watched.evaluate(rows)
    assert np.array_equal(before, after)
    assert not np.allclose(before, averaged)
    assert train(plain, range(3, 5)) == train(watched, range(3, 5))
    plain.close(), watched.close()


@pytest.mark.slow
def test_the_average_is_the_weighted_mean_it_says_it_is(tmp_path):
    engine = make(0, "fp32")
    average = WeightAverage(engine, 0.25)
    part = zero.fragments(engine.deepspeed)[0]
    expected = part.weight.clone()
    for step in range(1, 8):
        part.weight.fill_(float(step))
        average.update(100, 100 * step)
        pull = min(1.0, 1 / (0.25 * step))
        expected = expected + pull * (part.weight - expected)
    assert torch.allclose(average.mean[0], expected)
    assert 5.5 < float(expected.view(-1)[0]) < 7, "most of its weight lies on the last quarter"
    engine.close()


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 2, 3])
def test_an_average_that_is_kept_comes_back_whole(stage, tmp_path):
    engine = make(stage, "fp32")
    average = WeightAverage(engine, 0.5)
    train(engine, range(2))
    average.update(10, 100)
    average.snapshot().write(tmp_path / "average")
    snapshot(engine).write(tmp_path / "rank")
    other = WeightAverage(engine, 0.5)
    other.restore([tmp_path / "average"])
    assert all(torch.equal(a, b) for a, b in zip(average.mean, other.mean, strict=True))
    weights, averaged = read_full_weights([tmp_path / "rank"]), read_full_weights([tmp_path / "average"])
    assert weights.keys() == averaged.keys()
    assert not any(torch.equal(weights[name], averaged[name]) for name in ("embed.weight",))
    engine.close()


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 2])
def test_an_average_lies_in_the_checkpoint_it_belongs_to_and_one_without_says_so(stage, tmp_path):
    engine = make(stage, "fp32")
    average = WeightAverage(engine, 0.5)
    train(engine, range(2))
    average.update(10, 100)
    snapshot(engine, None, average.mean).write(tmp_path / "with")
    snapshot(engine).write(tmp_path / "without")
    other = WeightAverage(engine, 0.5)
    assert other.restore([tmp_path / "with"])
    assert all(torch.equal(a, b) for a, b in zip(average.mean, other.mean, strict=True))
    assert not torch.equal(other.mean[0], average.owned[0].weight)
    assert not other.restore([tmp_path / "without"])
    restore_engine(engine, [tmp_path / "with"])
    engine.close()
