"""Is the largest batch found that loses nothing?"""

from tune.critical_batch import critical_batch


def verdict(tokens, score, batch):
    return {"tokens": tokens, "score": score, "point": {"engine.batch_tokens": batch}}


def test_the_critical_batch_is_the_largest_that_loses_nothing():
    scores = {1024: 2.000, 2048: 1.995, 4096: 2.001, 8192: 2.050, 16384: 2.0}
    found = critical_batch([verdict(100, s, b) for b, s in scores.items()] + [verdict(10, 1.0, 8192)])
    assert (found["critical"], found["is_bound"], found["too_large"]) == (4096, False, 8192)
    found = critical_batch([verdict(100, 2.0, 1024), verdict(100, 1.9, 2048)])
    assert (found["critical"], found["is_bound"], found["too_large"]) == (2048, True, None)
    assert critical_batch([verdict(100, 2.0, 1024)]) is None
    assert critical_batch([]) is None
