"""Is what is found what a plain comparison of all with all finds, in whatever order it came?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_ops.kernels.near_index import FAMILY, NearIndex

HASHES, BANDS, AGREEMENT = 8, 2, 6
ROWS = st.lists(
    st.tuples(st.integers(0, 40), st.lists(st.integers(0, 2), min_size=HASHES, max_size=HASHES)), max_size=24
)


def arrays(rows: list[tuple[int, list[int]]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ids = np.array([number for number, _ in rows], np.uint64)
    signatures = np.array([signature for _, signature in rows], np.uint8).reshape(len(rows), HASHES)
    bands = signatures[:, ::4].astype(np.uint64) + np.array([0, 100], np.uint64)  # one hash each: often shared
    return ids, signatures, bands


def plain(rows: list[tuple[int, list[int]]], probe: list[int]) -> bool:
    """Compare with the FAMILY smallest ids of each band."""
    found = False
    for band in (0, 4):
        family = sorted((row for row in rows if row[1][band] == probe[band]), key=lambda row: row[0])[:FAMILY]
        found |= any(sum(a == b for a, b in zip(row[1], probe, strict=True)) >= AGREEMENT for row in family)
    return found


@pytest.mark.slow
@given(ROWS, ROWS, st.randoms(use_true_random=False), st.integers(1, 7))
@settings(max_examples=80, deadline=None)
def test_equals_a_plain_comparison_in_any_order_and_batches(rows, probes, chance, size) -> None:
    rows = list({number: (number, signature) for number, signature in rows}.values())  # an id is of one text
    index, shuffled = NearIndex(HASHES, BANDS, AGREEMENT), chance.sample(rows, len(rows))
    for at in range(0, len(rows), size):
        index.add(*arrays(shuffled[at : at + size]))
    _, signatures, bands = arrays(probes)
    assert index.look(signatures, bands).tolist() == [plain(rows, probe) for _, probe in probes]


@given(ROWS)
@settings(max_examples=60, deadline=None)
def test_what_is_new_is_unlike_all_before_it(rows) -> None:
    rows = list({number: (number, signature) for number, signature in rows}.values())
    new = NearIndex(HASHES, BANDS, AGREEMENT).add(*arrays(rows))
    assert new.tolist() == [not plain(rows[:at], rows[at][1]) for at in range(len(rows))]


def test_it_grows_without_forgetting_and_a_family_costs_no_more_than_its_size() -> None:
    chance = np.random.default_rng(1)
    count = 5_000
    signatures = chance.integers(0, 256, (count, 112), dtype=np.uint8)
    bands = chance.integers(0, 2**63, (count, 14), dtype=np.uint64)
    bands[:, 0] = 7  # one band that all share
    index = NearIndex(112, 14, 90)
    for at in range(0, count, 700):
        part = slice(at, at + 700)
        assert index.add(np.arange(count, dtype=np.uint64)[part], signatures[part], bands[part]).all()
    assert len(index) == count and index.look(signatures, bands).all()
    assert not index.look(255 - signatures, bands).any()
    assert index.size_bytes < 1_300 * count
