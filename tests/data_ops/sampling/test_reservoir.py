"""Is the sample the same however the rows arrive, as if deleted rows had never been, and restored bit for bit?"""

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data_ops.kernels.hashing import decay_rate, exact_log, hash_ids, key_of, seed_words
from data_ops.kernels.id_sets import is_member, keep_below, keep_smallest, unique_ids
from data_ops.kernels.reservoir_scan import checked_rows, scan_rows
from data_ops.sampling.reservoir import Reservoir, ReservoirConfig

seeds = st.integers(0, 2**32)


def make_rows(seed, n, num_ids=None):
    """Rows with repeated ids where num_ids < n, at times and weights of their own."""
    r = np.random.default_rng(seed)
    ids = r.integers(0, 2**64, (num_ids or n, 2), dtype=np.uint64)[r.integers(0, num_ids or n, n)]
    return ids, 1.7e9 + r.uniform(0, 1e7, n), r.lognormal(0, 1, n)


def oracle(rows, k, half_life_s, seed, without=()):
    """Sort every row by (key, id) in pure Python, the smallest key of each id first."""
    gone = {tuple(i) for i in np.asarray(without).tolist()}
    pairs = sorted(zip(key_of(*rows, half_life_s, seed).tolist(), map(tuple, rows[0].tolist()), strict=True))
    best = {i: key for key, i in reversed(pairs) if i not in gone}
    first = sorted((key, i) for i, key in best.items())[:k]
    return np.array([i for _, i in first], np.uint64).reshape(-1, 2)


def filled(rows, capacity, half_life_s=1e6, seed=3, order=None):
    made = Reservoir(capacity, half_life_s, seed)
    made.add(*(rows if order is None else [column[order] for column in rows]))
    return made


def assert_same(a, b):
    assert a.fingerprint() == b.fingerprint()
    for name, value in a.state_dict().items():
        np.testing.assert_array_equal(value, b.state_dict()[name], err_msg=name)


@settings(max_examples=25)
@given(
    seed=seeds,
    n=st.integers(0, 3000),
    k=st.integers(1, 300),
    half_life=st.sampled_from([None, 1.0, 1e5, 1e9]),
)
def test_the_sample_is_what_sorting_all_rows_gives(seed, n, k, half_life):
    rows = make_rows(seed, n, num_ids=max(1, n // 2))
    np.testing.assert_array_equal(filled(rows, k, half_life, seed).sample(k), oracle(rows, k, half_life, seed))


@pytest.mark.slow
@settings(max_examples=25)
@given(
    seed=seeds,
    num_shards=st.integers(1, 12),
    block=st.integers(1, 5000),
    num_ids=st.sampled_from([50, 2000, 9000]),
)
def test_any_partition_order_repetition_and_merge_tree_give_the_same_bits(seed, num_shards, block, num_ids):
    rows = make_rows(seed, 9000, num_ids)
    r = np.random.default_rng(seed)
    order = r.permutation(np.concatenate([np.arange(9000), r.integers(0, 9000, 900)]))
    parts = [Reservoir(80, 1e6, 3) for _ in range(num_shards)]
    for start in range(0, len(order), block):
        some = order[start : start + block]
        parts[int(r.integers(num_shards))].add(*(column[some] for column in rows))
    while len(parts) > 1:
        part = parts.pop(int(r.integers(len(parts))))
        parts[int(r.integers(len(parts)))].merge(part)
    assert_same(parts[0], filled(rows, 80))


@pytest.mark.parametrize("block", [1, 7, 1023, 1024, 1025, 40_000])
def test_block_sizes_around_the_kernels_own_do_not_matter(block):
    rows = make_rows(1, 40_000 if block > 7 else 3000)
    made = Reservoir(500, 1e6, 3)
    for start in range(0, len(rows[0]), block):
        made.add(*(column[start : start + block] for column in rows))
    assert_same(made, filled(rows, 500))


@settings(max_examples=25)
@given(seed=seeds)
def test_merge_is_commutative_associative_and_idempotent(seed):
    a, b, c = (make_rows(seed + i, 2000, 1500) for i in range(3))

    def joined(*parts):
        made = Reservoir(60, 1e6, 3)
        for part in parts:
            made.merge(part)
        return made

    x, y, z = filled(a, 60), filled(b, 60), filled(c, 60)
    assert_same(joined(x, y), joined(y, x))
    assert_same(joined(joined(x, y), z), joined(x, joined(y, z)))
    assert_same(joined(x, x), x)
    x.merge(x)
    assert_same(x, filled(a, 60))


def test_merging_reservoirs_made_differently_is_refused():
    for other in (Reservoir(11, None, 0), Reservoir(10, 5.0, 0), Reservoir(10, None, 1)):
        with pytest.raises(ValueError, match="merge reservoirs made alike"):
            Reservoir(10, None, 0).merge(other)


@pytest.mark.slow
@settings(max_examples=30)
@given(seed=seeds, share=st.floats(0, 0.15), when=st.sampled_from(["before", "between", "after"]))
def test_a_deleted_document_might_as_well_never_have_been_seen(seed, share, when):
    rows = make_rows(seed, 5000)
    gone = rows[0][np.random.default_rng(seed).random(5000) < share]
    made, half = Reservoir(300, 1e6, 3), [column[:2500] for column in rows]
    if when == "before":
        made.delete(gone)
    made.add(*half)
    if when == "between":
        made.delete(gone)
    made.add(*rows)
    if when == "after":
        made.delete(gone)
    expected = oracle(rows, 300, 1e6, 3, without=gone)
    np.testing.assert_array_equal(made.sample(300), expected)
    made.add(*rows)
    np.testing.assert_array_equal(made.sample(300), expected)


def test_deletions_travel_through_merge_and_state():
    rows = make_rows(5, 3000)
    gone = rows[0][::9]
    told = Reservoir(200, 1e6, 3)
    told.delete(gone)
    told = Reservoir.from_state_dict(told.state_dict())
    told.merge(filled(rows, 200))
    np.testing.assert_array_equal(told.sample(200), oracle(rows, 200, 1e6, 3, without=gone))
    untold = filled(rows, 200)
    untold.merge(told)
    assert untold.fingerprint() == told.fingerprint()


def test_deletions_beyond_the_slack_leave_a_certified_prefix_and_a_refill_mends_it():
    rows = make_rows(6, 20_000)
    made = filled(rows, 400)
    gone = np.concatenate([made.ids[::2], rows[0][:3000]])
    made.delete(gone)
    expected = oracle(rows, 400, 1e6, 3, without=gone)
    short = made.sample(400)
    assert len(short) < 400 and made.needs_refill(400) and not made.certified(400) and len(made) == len(short)
    assert not made.needs_refill(len(short))
    np.testing.assert_array_equal(short, expected[: len(short)])
    with pytest.raises(ValueError, match="refill"):
        made.threshold(400)
    full = made.refilled([column[i : i + 999] for column in rows] for i in range(0, 20_000, 999))
    np.testing.assert_array_equal(full.sample(400), expected)
    never = Reservoir(400, 1e6, 3)
    never.delete(gone)
    never.add(*rows)
    assert_same(full, never)


@settings(max_examples=20)
@given(seed=seeds, steps=st.integers(1, 6))
def test_restoring_after_every_step_changes_nothing(seed, steps):
    straight = restored = Reservoir(70, 1e6, seed)
    for step in range(steps):
        rows = make_rows(seed + step, 1500, 1000)
        for made in (straight, restored):
            made.add(*rows)
            made.delete(rows[0][:5])
        state = restored.state_dict()
        scalars = {k: v for k, v in state.items() if not isinstance(v, np.ndarray)}
        restored = Reservoir.from_state_dict(state | json.loads(json.dumps(scalars, allow_nan=False)))
        assert_same(restored, straight)


def test_a_state_does_not_change_with_the_reservoir_it_was_taken_from():
    made = filled(make_rows(1, 500), 50)
    state, held = made.state_dict(), made.keys
    before = state["keys"].copy()
    made.add(*make_rows(2, 5000))
    made.sample(5)
    np.testing.assert_array_equal(state["keys"], before)
    np.testing.assert_array_equal(held, before)


def test_a_state_of_another_algorithm_or_size_is_refused():
    state = filled(make_rows(1, 500), 50).state_dict()
    with pytest.raises(ValueError, match="algorithm 99"):
        Reservoir.from_state_dict(state | {"algorithm": 99})
    with pytest.raises(ValueError, match="restore another"):
        Reservoir.from_state_dict(state | {"keys": state["keys"][1:]})


@settings(max_examples=60)
@given(
    seed=seeds,
    log_weight=st.floats(-700, 700),
    half_life=st.sampled_from([None, 1.0, 3600.0, 1e7]),
    q=st.floats(0, 1),
)
@example(seed=0, log_weight=705.0, half_life=None, q=0.002)  # the largest weights and the smallest hashes
def test_the_compiled_path_keeps_exactly_the_rows_and_bits_of_the_numpy_path(seed, log_weight, half_life, q):
    ids, times_s, weights = make_rows(seed, 1500)
    weights = np.clip(weights * np.exp(log_weight), 5e-324, 1e308)
    full = key_of(ids, times_s, weights, half_life, 9)
    for horizon in (np.inf, float(np.quantile(full, q)), float(full[0]), np.nextafter(full[0], np.inf)):
        out, out_ids = np.empty(4096), np.empty((4096, 2), np.uint64)
        flat, t, w = checked_rows(ids, times_s, weights)
        s1, s2 = seed_words(9)
        end, num, _ = scan_rows(flat, t, w, 0, s1, s2, decay_rate(half_life), horizon, out, out_ids.reshape(-1), 0)
        assert end == 1500
        np.testing.assert_array_equal(out[:num].view(np.uint64), full[full < horizon].view(np.uint64))
        np.testing.assert_array_equal(out_ids[:num], ids[full < horizon])


@pytest.mark.parametrize("half_life", [None, 1.0, 1e6])
def test_no_row_within_rounding_of_the_horizon_slips_through_the_filter_where_its_bound_is_tightest(half_life):
    """The bound is exact where E is close to its lower bound v and E / weight is a power of two: rows made so."""
    ids = make_rows(4, 1 << 19)[0]
    ids = ids[np.argsort(hash_ids(ids, 9))[:400]]
    e, times_s = np.exp(key_of(ids, np.zeros(400), np.ones(400), None, 9)), np.full(400, 3e8)
    rate = decay_rate(half_life)
    weights = e * 2.0**10 * (1 + np.resize(np.arange(-8, 9), 400) * 2.0**-50)
    full = key_of(ids, times_s, weights, half_life, 9)
    for horizon in np.unique(full)[::5]:
        out, out_ids, (s1, s2) = np.empty(4096), np.empty(8192, np.uint64), seed_words(9)
        rows = checked_rows(ids, times_s, weights)
        _, num, _ = scan_rows(*rows, 0, s1, s2, rate, horizon, out, out_ids, 0)
        np.testing.assert_array_equal(out[:num], full[full < horizon])


WEIGHTS = [
    1.0,
    1e25,
    1e-25,
    5e-324,
    2.0**-1030,
    2.2250738585072014e-308,
    1.7e308,
    0.0,
    -0.0,
    -1.0,
    np.nan,
    np.inf,
    -np.inf,
]
TIMES = [0.0, -0.0, 1.7e9, 1.7e9 + 1e-6, -1.7e9, 4e9, 1e15, 3e15, -3e15, 1e22, 5e-324, 1e300, np.nan, np.inf, -np.inf]


def sentence_for(times_s, weights, half_life):
    """What is said of the first row that is refused, worked out row by row in plain Python; None if all are taken."""
    for row, (time, weight) in enumerate(zip(times_s.tolist(), weights.tolist(), strict=True)):
        if not 0 < weight < np.inf:
            return f"weight {np.float64(weight)} in row {row} is not positive and finite; drop or mend the row"
        if not abs(decay_rate(half_life) * time) <= 2.0**50:
            return f"time {np.float64(time)} s in row {row} is not finite or too far off; drop or mend the row"
    return None


@pytest.mark.slow
@settings(max_examples=150)
@given(
    seed=seeds,
    n=st.integers(0, 1100),
    k=st.integers(1, 40),
    half_life=st.sampled_from([None, 1.0, 3600.0, 1e7]),
    odd=st.lists(st.tuples(st.integers(0, 1099), st.sampled_from(WEIGHTS), st.sampled_from(TIMES)), max_size=6),
)
def test_extreme_rows_are_kept_or_refused_as_the_simple_implementation_does(seed, n, k, half_life, odd):
    ids, times_s, weights = make_rows(seed, n + 200)
    before, made = [column[n:] for column in (ids, times_s, weights)], Reservoir(k, half_life, seed)
    rows = [column[:n] for column in (ids, times_s, weights)]
    for row, weight, time in odd:
        if row < n:
            rows[1][row], rows[2][row] = time, weight
    made.add(*before)
    if refused := sentence_for(rows[1], rows[2], half_life):
        with pytest.raises(ValueError) as told:
            made.add(*rows)
        assert str(told.value) == refused
        assert_same(made, filled(before, k, half_life, seed))
    else:
        made.add(*rows)
        together = [np.concatenate(pair) for pair in zip(before, rows, strict=True)]
        np.testing.assert_array_equal(made.sample(k), oracle(together, k, half_life, seed))


@pytest.mark.parametrize("bad_row", [0, 29_999])
def test_a_bad_row_behind_more_rows_than_the_buffer_holds_changes_nothing(bad_row):
    ids, _, weights = make_rows(2, 30_000)
    made, before = Reservoir(50, 1e6, 3), make_rows(3, 500)
    made.add(*before)
    weights[bad_row] = np.nan
    with pytest.raises(ValueError, match=f"weight nan in row {bad_row}"):
        made.add(ids, np.linspace(1e9, 2e9, 30_000), weights)  # ever newer rows fill the buffer again and again
    assert_same(made, filled(before, 50))


@pytest.mark.parametrize("row", [7, 8000])
@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf, -np.inf])
def test_a_bad_weight_is_named_with_its_row_and_nothing_is_added(bad, row):
    ids, times_s, weights = make_rows(1, row + 3)
    made = Reservoir(50, 1e6, 3)
    weights[row] = bad
    with pytest.raises(ValueError, match=rf"weight {bad} in row {row}"):
        made.add(ids, times_s, weights)
    assert_same(made, Reservoir(50, 1e6, 3))


@pytest.mark.parametrize("half_life", [None, 1e6])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bad_time_is_named_with_its_row(bad, half_life):
    ids, times_s, weights = make_rows(1, 10)
    times_s[7] = bad
    with pytest.raises(ValueError, match=rf"time {bad} s in row 7"):
        Reservoir(5, half_life).add(ids, times_s, weights)


def test_wrong_types_and_shapes_are_refused_with_what_was_given():
    ids, times_s, weights = make_rows(1, 10)
    made = Reservoir(5)
    with pytest.raises(TypeError, match="int64"):
        made.add(ids.astype(np.int64), times_s, weights)
    with pytest.raises(ValueError, match=r"\(20,\)"):
        made.add(ids.reshape(-1), times_s, weights)
    with pytest.raises(ValueError, match=r"weights has shape \(9,\)"):
        made.add(ids, times_s, weights[:9])
    for arguments in ((0,), (5, 0.0), (5, np.nan), (5, None, -1), (5, None, 2**64)):
        with pytest.raises(ValueError, match=str(arguments[-1])):
            Reservoir(*arguments)
    with pytest.raises(ValueError, match="-1"):
        made.sample(-1)


def test_read_only_strided_and_integer_inputs_are_taken():
    ids, times_s, weights = make_rows(1, 400)
    times_s = np.floor(times_s)
    ids.flags.writeable = False
    made = Reservoir(30, 1e6, 3)
    made.add(ids[::2], times_s[::2].astype(np.int64), weights[::2])
    assert_same(made, filled((ids, times_s, weights), 30, order=np.arange(0, 400, 2)))


def test_the_fingerprint_names_sample_seed_and_half_life_but_not_the_slack():
    rows = make_rows(1, 300)
    made = filled(rows, 100)
    slack = made.ids[120:]
    before = made.fingerprint()
    made.delete(slack[:10])
    assert made.fingerprint() == before and len(before) == 32
    others = [
        filled(rows, 100, seed=4),
        filled(rows, 100, 2e6),
        filled(rows, 99),
        filled(make_rows(2, 300), 100),
    ]
    assert len({before, *(o.fingerprint() for o in others)}) == 5


def test_id_sets_agree_with_python_sets():
    r = np.random.default_rng(0)
    ids = r.integers(0, 40, (3000, 2)).astype(np.uint64)
    among = r.integers(0, 40, (300, 2)).astype(np.uint64)
    pool = set(map(tuple, among.tolist()))
    assert is_member(ids, among).tolist() == [tuple(i) in pool for i in ids.tolist()]
    assert unique_ids(ids).tolist() == sorted(map(list, set(map(tuple, ids.tolist()))))
    values = r.random(3000)
    smallest = {}
    for key, i in zip(values.tolist(), map(tuple, ids.tolist()), strict=True):
        smallest[i] = min(key, smallest.get(i, 2.0))
    num = keep_smallest(values, ids)
    assert dict(zip(map(tuple, ids[:num].tolist()), values[:num].tolist(), strict=True)) == smallest
    assert num == len(smallest)


@pytest.mark.parametrize("repeats", [0, 1, 2, 50, 5000])
def test_the_smallest_key_of_each_repeated_id_stays_however_rare_repeats_are(repeats):
    r = np.random.default_rng(repeats)
    ids = r.integers(0, 2**64, (5000, 2), dtype=np.uint64)
    keys = r.random(5000)
    again = r.choice(5000, repeats, replace=False)
    ids, keys = np.concatenate([ids, ids[again]]), np.concatenate([keys, keys[again] + r.choice([-1.0, 1.0], repeats)])
    order = r.permutation(len(ids))
    ids, keys = ids[order], keys[order]
    expected: dict[tuple[int, int], float] = {}
    for key, row in zip(keys.tolist(), map(tuple, ids.tolist()), strict=True):
        expected[row] = min(key, expected.get(row, 9.0))
    num = keep_smallest(keys, ids)
    assert dict(zip(map(tuple, ids[:num].tolist()), keys[:num].tolist(), strict=True)) == expected
    assert num == len(expected) == 5000
    below = sorted(key for key in expected.values() if key < 0.25)
    num = keep_below(keys[:num], ids[:num].reshape(-1), 0.25)
    assert sorted(keys[:num].tolist()) == below
    assert all(
        expected[row] == key for row, key in zip(map(tuple, ids[:num].tolist()), keys[:num].tolist(), strict=True)
    )


def test_config_reads_half_lives_and_splits_the_capacity():
    assert ReservoirConfig().half_lives_s == (30 * 86400.0, None)
    for value, expected in (
        ("7d", (604800.0,)),
        (None, (None,)),
        ("none", (None,)),
        ([None, "1h"], (None, 3600.0)),
    ):
        assert ReservoirConfig(half_life=value).half_lives_s == expected
    assert sum(ReservoirConfig(capacity=7, half_life=["1d", "2d", None]).capacities) == 7
    again = ReservoirConfig.model_validate_json(ReservoirConfig().model_dump_json())
    assert again == ReservoirConfig()
    for bad in (
        {"half_life": "0s"},
        {"half_life": []},
        {"half_life": "soon"},
        {"capacity": 1},
        {"half_life": ["1d", "24h"]},
    ):
        with pytest.raises(ValueError):
            ReservoirConfig(**bad)


def test_hashes_of_equal_ids_are_equal_and_depend_on_both_words_and_every_salt():
    ids = np.array([[1, 2], [2, 1], [1, 2], [0, 2], [1, 0]], np.uint64)
    h = hash_ids(ids, 5)
    assert h[0] == h[2] and len(set(h.tolist())) == 4
    assert len({int(hash_ids(ids[:1], *salts)[0]) for salts in ((5,), (6,), (5, 0), (0, 5), (5, 1), (1, 5))}) == 6


def test_keys_and_fingerprint_are_the_golden_ones_on_every_machine():
    ids = np.stack([np.arange(6, dtype=np.uint64), np.arange(6, dtype=np.uint64) * np.uint64(3)], 1)
    found = key_of(ids, 1.7e9 + np.arange(6.0), 1.0 + np.arange(6.0), 86400.0, 42)
    assert [value.hex() for value in found.tolist()] == GOLDEN_KEYS
    made = Reservoir(4, 86400.0, 42)
    made.add(ids, 1.7e9 + np.arange(6.0), 1.0 + np.arange(6.0))
    assert made.fingerprint() == GOLDEN_FINGERPRINT


def test_the_logarithm_is_within_one_unit_in_the_last_place():
    r = np.random.default_rng(0)
    x = np.concatenate(
        [np.exp(r.uniform(-745, 709, 100_000)), 1 + r.uniform(-1e-3, 1e-3, 10_000), [5e-324, 1.0, 1.7e308]]
    )
    x = x[x > 0]
    assert np.max(np.abs(exact_log(x) - np.log(x)) / np.spacing(np.maximum(np.abs(np.log(x)), 1e-300))) <= 1


GOLDEN_KEYS = [
    "-0x1.aa3a2aa54def0p+13",
    "-0x1.aa54b5efdefebp+13",
    "-0x1.aa48378157879p+13",
    "-0x1.aa3e0addcbf5fp+13",
    "-0x1.aa3f512a5f9bcp+13",
    "-0x1.aa43e03675b49p+13",
]
GOLDEN_FINGERPRINT = "e18c24d3633c46d46dc3b1138f6e0859"
