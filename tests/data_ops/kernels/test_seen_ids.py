"""Is the set of seen ids exactly a set?"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_ops.kernels.seen_ids import MIN_SLOTS, SeenIds

# few values, so that repeats, equal halves and (0, 0) are common
WORDS = st.sampled_from([0, 1, 2, 2**63, 2**64 - 1])
BATCHES = st.lists(st.lists(st.tuples(WORDS, WORDS), max_size=12), max_size=8)


def as_ids(rows: list[tuple[int, int]]) -> np.ndarray:
    return np.array(rows, dtype=np.uint64).reshape(-1, 2)


@given(BATCHES)
def test_it_agrees_with_a_python_set_after_every_batch(batches: list[list[tuple[int, int]]]):
    seen, model = SeenIds(), set()
    for batch in batches:
        assert seen.contains(as_ids(batch)).tolist() == [row in model for row in batch]
        expected = [row not in model and row not in batch[:i] for i, row in enumerate(batch)]
        assert seen.add_new(as_ids(batch)).tolist() == expected
        model.update(batch)
        assert len(seen) == len(model)


def test_nothing_is_forgotten_or_invented_while_the_table_grows():
    ids = np.random.default_rng(0).integers(0, 2**64, (50_000, 2), dtype=np.uint64)
    seen = SeenIds()
    for start in range(0, len(ids), 777):
        assert seen.add_new(ids[start : start + 777]).all()
    assert seen.contains(ids).all() and not seen.add_new(ids).any() and len(seen) == len(ids)
    assert not seen.contains(ids[:, ::-1]).any()


def test_the_result_does_not_depend_on_how_ids_are_batched():
    ids = np.random.default_rng(0).integers(0, 100, (5_000, 2), dtype=np.uint64)
    at_once, one_by_one = SeenIds(), SeenIds()
    new = at_once.add_new(ids)
    assert new.tolist() == [bool(one_by_one.add_new(ids[i : i + 1])[0]) for i in range(len(ids))]


def test_memory_stays_below_64_bytes_an_id_once_it_has_grown():
    seen = SeenIds()
    empty = seen.size_bytes
    seen.add_new(np.random.default_rng(0).integers(0, 2**64, (MIN_SLOTS // 2 + 1, 2), dtype=np.uint64))
    assert seen.size_bytes == 2 * empty and seen.size_bytes / len(seen) <= 64


@pytest.mark.parametrize("high", [0, 5])
def test_ids_that_share_a_half_do_not_pile_up_or_overwrite_each_other(high: int):
    rows = np.arange(1, 200_000, dtype=np.uint64)
    halves = np.full_like(rows, high)
    for ids in (np.stack([halves, rows << np.uint64(32)], axis=1), np.stack([rows << np.uint64(32), halves], axis=1)):
        seen = SeenIds()
        assert seen.add_new(ids).all() and seen.contains(ids).all() and len(seen) == len(ids)


@pytest.mark.parametrize("wrong", [np.zeros((2, 2)), np.zeros(4, dtype=np.uint64), np.zeros((2, 3), dtype=np.uint64)])
def test_anything_but_ids_is_refused_with_its_shape(wrong: np.ndarray):
    with pytest.raises(ValueError, match="use ids_to_array"):
        SeenIds().add_new(wrong)


@given(BATCHES)
def test_its_ids_are_those_that_were_added_each_once(batches: list[list[tuple[int, int]]]):
    seen = SeenIds()
    for batch in batches:
        seen.add_new(as_ids(batch))
    assert sorted(map(tuple, seen.ids().tolist())) == sorted({row for batch in batches for row in batch})
