"""Are the seconds of many documents told as few, source by source?"""

import numpy as np

from ray_jobs.training.freshness import MOST, by_source, spread_of


def test_many_values_are_told_by_their_quantiles_and_few_as_they_are() -> None:
    assert spread_of(np.array([2.0, 1.0])) == (1.0, 2.0)
    told = spread_of(np.arange(1001.0))
    assert len(told) == MOST and (told[0], told[-1]) == (0.0, 1000.0)
    assert spread_of(np.array([])) == ()


def test_every_source_has_its_own() -> None:
    labels = np.array(["b", "a", "b"])
    assert by_source(labels, np.array([3.0, 1.0, 2.0])) == {"a": (1.0,), "b": (2.0, 3.0)}
    assert by_source(labels[:0], np.array([])) == {}
