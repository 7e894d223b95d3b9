"""Does every document come into rounds exactly once, and every row to exactly one rank, whoever asks?"""

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from data_ops.documents.place import Documents, Place
from data_ops.kernels.arrays import array_to_ids
from data_ops.lake.schemas import ROUND_SCHEMA
from data_ops.rounds.config import RoundConfig
from data_ops.rounds.layout import Layout
from data_ops.rounds.manifest import Manifest, Shape
from data_ops.rounds.plan import PlanInput, fit, plan_round
from tests.support.lakes import make_lake

D = 10**6  # the document token
SHAPE = Shape(row_tokens=16, batch_rows=4)


def make_log(seed, n, most_tokens=40):
    """Kept documents in log order, with gaps where others were dropped: LOG_COLUMNS."""
    r = np.random.default_rng(seed)
    windows = np.sort(r.integers(0, 5, n))
    positions = np.concatenate([np.cumsum(r.integers(1, 4, c)) - 1 for c in np.bincount(windows, minlength=5)])
    columns = {
        "id": array_to_ids(r.integers(0, 2**64, (n, 2), dtype=np.uint64)),
        "window": windows,
        "position": positions.astype(np.int64),
        "num_tokens": r.integers(0, most_tokens + 1, n),
        "weight": r.uniform(0.5, 2, n),
    }
    return pa.table(columns)


def lengths_log(*num_tokens):
    n = len(num_tokens)
    log = make_log(0, n)
    log = log.set_column(1, "window", pa.array([0] * n)).set_column(2, "position", pa.array(range(n)))
    return log.set_column(3, "num_tokens", pa.array(num_tokens, pa.int64()))


def after(log, place):
    windows, positions = log["window"].to_numpy(), log["position"].to_numpy()
    return log.filter(pa.array((windows > place.window) | ((windows == place.window) & (positions >= place.position))))


def plan(number, start, pending, config, shape=SHAPE, candidates=None, seed=5):
    candidates = Documents.empty() if candidates is None else candidates
    return plan_round(PlanInput(config, shape, seed, candidates, "sample"), number, start, pending, "tokens")


def plan_all(log, config, shape=SHAPE, candidates=None):
    """Cut the whole log into rounds, as the feed does."""
    place, manifests = Place(), []
    while (pending := after(log, place)).num_rows:
        manifests.append(plan(len(manifests), place, pending, config, shape, candidates))
        assert manifests[-1].end > place, "a round makes progress"
        place = manifests[-1].end
    return manifests


def places(documents):
    return list(zip(documents.windows.tolist(), documents.positions.tolist(), strict=True))


def names(documents):
    return [tuple(i) for i in documents.ids.tolist()]


def tokens_of(documents):
    """Tokens that name document and position: no two positions of a round have the same one."""
    offsets = np.concatenate([[0], np.cumsum(documents.num_tokens)])
    return np.arange(offsets[-1], dtype=np.int32), offsets


def global_batch(layout, step, world=1):
    """The rows of all ranks, one under the other."""
    tokens, offsets = tokens_of(layout.manifest.documents)
    count = layout.manifest.batch_rows // world
    parts = [layout.fill(layout.rows_of(step, rank * count, count), count, tokens, offsets, D) for rank in range(world)]
    return [np.concatenate(field) for field in zip(*parts, strict=True)]


logs = st.builds(make_log, st.integers(0, 2**32), st.integers(1, 60))
configs = st.builds(
    RoundConfig,
    tokens=st.integers(20, 600),
    replay_share=st.sampled_from([0.0, 0.25, 0.6]),
    max_backlog_tokens=st.sampled_from([None, 1, 300]),
)
shapes = st.builds(Shape, row_tokens=st.sampled_from([8, 16, 32]), batch_rows=st.sampled_from([4, 8]))


@settings(max_examples=50)
@given(logs, configs, shapes)
def test_every_document_of_the_log_is_fresh_or_shed_exactly_once(log, config, shape):
    manifests = plan_all(log, config, shape)
    done = [p for m in manifests for p in (*places(m.fresh), *places(m.shed))]
    assert sorted(done) == places(Documents.from_table(log))
    assert config.max_backlog_tokens is not None or not any(len(m.shed) for m in manifests)
    for before, m in zip([None, *manifests], manifests, strict=False):
        assert m.start == (before.end if before else Place())
        assert all(m.start <= p < m.end for p in (*places(m.fresh), *places(m.shed)))
        assert len(m.fresh) == 1 or m.fresh.lengths.sum() <= config.fresh_tokens


@settings(max_examples=50)
@given(logs, configs, shapes)
def test_what_is_not_planned_yet_stays_pending_behind_the_rounds_end(log, config, shape):
    m = plan(0, Place(), log, config, shape)
    left = places(Documents.from_table(after(log, m.end)))
    assert sorted([*places(m.fresh), *places(m.shed), *left]) == places(Documents.from_table(log))


@settings(max_examples=50)
@given(logs, configs, shapes)
def test_replay_is_never_fresh_and_never_twice_and_leaves_no_step_empty(log, config, shape):
    candidates = Documents.from_table(log)
    for m in plan_all(log, config, shape, candidates):
        replayed = names(m.replay)
        assert not set(replayed) & set(names(m.fresh))
        assert len(set(replayed)) == len(replayed)
        assert config.replay_share > 0 or not replayed
        layout = Layout(m)
        assert m.steps == -(-layout.packing.num_rows // shape.batch_rows)
        assert all(layout.positions(step) > 0 for step in range(m.steps))


@settings(max_examples=40)
@given(logs, configs, shapes)
def test_every_label_of_every_document_is_trained_exactly_once_in_its_round(log, config, shape):
    for m in plan_all(log, config, shape, Documents.from_table(log))[:3]:
        layout = Layout(m)
        tokens, offsets = tokens_of(m.documents)
        expected = []
        for d in range(len(m.documents)):
            own = tokens[offsets[d] : offsets[d + 1]].tolist()
            expected += list(zip([D, *own], [*own, D], strict=True))
        seen = []
        for step in range(m.steps):
            inputs, labels, segments = global_batch(layout, step)
            there = labels != -100
            assert (there == (segments >= 0)).all()
            assert layout.positions(step) == layout.predictions(step, tokens, offsets) == there.sum()
            seen += list(zip(inputs[there].tolist(), labels[there].tolist(), strict=True))
        assert sorted(seen) == sorted(expected)


@settings(max_examples=30)
@given(logs, configs, shapes)
def test_the_global_batch_is_the_same_at_any_world_size(log, config, shape):
    for m in plan_all(log, config, shape, Documents.from_table(log))[:2]:
        layout = Layout(m)
        for step in range(m.steps):
            whole = global_batch(layout, step)
            assert whole[0].shape == (shape.batch_rows, shape.row_tokens)
            for world in (2, 4):
                for one, other in zip(whole, global_batch(layout, step, world), strict=True):
                    np.testing.assert_array_equal(one, other)


def slow_last_steps(layout):
    """For each document the last step in which one of its pieces stands, by walking through all of them."""
    last = {}
    for step in range(layout.manifest.steps):
        for row in layout.rows_of(step).tolist():
            for where, document in zip(layout.packing.row.tolist(), layout.packing.document.tolist(), strict=True):
                if where == row:
                    last[document] = step
    return [last[d] for d in range(len(layout.manifest.documents))]


@settings(max_examples=30)
@given(logs, configs, shapes)
def test_a_document_is_done_with_the_step_of_its_last_piece(log, config, shape):
    for m in plan_all(log, config, shape, Documents.from_table(log))[:2]:
        layout = Layout(m)
        assert layout.last_steps.tolist() == slow_last_steps(layout)


@settings(max_examples=20)
@given(logs, configs, st.integers(0, 2**32))
def test_the_order_of_candidates_changes_nothing(log, config, seed):
    candidates = Documents.from_table(make_log(99, 80))
    shuffled = candidates.take(np.random.default_rng(seed).permutation(80))
    one, other = (plan(3, Place(), log, config, candidates=c) for c in (candidates, shuffled))
    assert one.to_row() == other.to_row()


@settings(max_examples=20)
@given(logs, configs, shapes)
def test_a_manifest_survives_a_row_of_the_rounds_table(log, config, shape):
    manifests = plan_all(log, config, shape, Documents.from_table(log))
    rows = pa.Table.from_pylist([{"run": "r", "round": m.round, **m.to_row()} for m in manifests], schema=ROUND_SCHEMA)
    for index, m in enumerate(manifests):
        again = Manifest.from_row(rows, index)
        assert again.to_row() == m.to_row()
        assert (again.start, again.end, again.steps) == (m.start, m.end, m.steps)


def test_a_manifest_read_from_the_lake_gives_the_same_batches(tmp_path):
    log = make_log(3, 50)
    config = RoundConfig(tokens=300, replay_share=0.25)
    lake = make_lake(tmp_path)
    manifests = plan_all(log, config, candidates=Documents.from_table(log))
    for m in manifests:
        lake.add_round("r", m.round, m.to_row())
    for m in manifests:
        again = Manifest.from_row(lake.rounds("r", m.round), 0)
        assert again.to_row() == m.to_row()
        for step in range(m.steps):
            for one, other in zip(global_batch(Layout(m), step), global_batch(Layout(again), step), strict=True):
                np.testing.assert_array_equal(one, other)


def test_too_few_candidates_give_fewer_steps_and_no_empty_one():
    log = lengths_log(*[15] * 8)  # 8 rows: two steps, and a share of 0.75 asks for six more
    config = RoundConfig(tokens=512, replay_share=0.75)
    assert plan(0, Place(), log, config).steps == 2
    few = Documents.from_table(make_log(7, 3, most_tokens=10))
    m = plan(0, Place(), log, config, candidates=few)
    assert (m.steps, len(m.replay)) == (3, 3)
    many = Documents.from_table(make_log(7, 400, most_tokens=10))
    assert plan(0, Place(), log, config, candidates=many).steps == 8


def test_a_document_longer_than_a_row_is_trained_whole():
    m = plan(0, Place(), lengths_log(5, 100, 7), RoundConfig(tokens=1000, replay_share=0.0))
    layout = Layout(m)
    assert m.fresh.lengths.tolist() == [6, 101, 8]
    assert sum(layout.positions(step) for step in range(m.steps)) == 115
    assert layout.last_steps.tolist() == slow_last_steps(layout)


def test_a_document_longer_than_the_rounds_budget_is_a_round_of_its_own():
    manifests = plan_all(lengths_log(5, 900, 7), RoundConfig(tokens=64, replay_share=0.0))
    assert [m.fresh.num_tokens.tolist() for m in manifests] == [[5], [900], [7]]
    assert manifests[1].steps == -(-901 // 64)


def test_without_fresh_text_a_round_of_replay_stays_where_it_is():
    candidates = Documents.from_table(make_log(7, 400))
    config = RoundConfig(tokens=256, replay_share=0.25, starved="replay")
    m = plan(2, Place(4, 9), make_log(0, 0), config, candidates=candidates)
    assert (m.start, m.end, len(m.fresh), len(m.shed)) == (Place(4, 9), Place(4, 9), 0, 0)
    assert m.steps == 4


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.integers(0, 20), st.integers(0, 40), st.integers(0, 8))
def test_fitting_keeps_all_fresh_text_and_drops_replay_from_the_end(seed, num_fresh, num_replay, most_steps):
    fresh, replay = (Documents.from_table(make_log(seed + i, n)) for i, n in enumerate((num_fresh, num_replay)))
    steps, kept = fit(fresh, replay, most_steps, SHAPE)
    assert names(kept) == names(replay)[: len(kept)]
    needed, _ = fit(fresh, Documents.empty(), 0, SHAPE)
    assert steps <= max(most_steps, needed)
    everything, _ = fit(fresh, replay, 10**6, SHAPE)
    assert everything > max(most_steps, needed) or len(kept) == num_replay


def test_replay_that_fits_beside_the_fresh_text_stays_even_where_no_step_was_planned_for_it():
    fresh, replay = (Documents.from_table(lengths_log(*n)) for n in ((5,), (1, 1)))
    steps, kept = fit(fresh, replay, 0, SHAPE)
    assert (steps, len(kept)) == (1, 2)


def test_rows_of_a_step_that_does_not_exist_are_none():
    m = plan(0, Place(), lengths_log(*[15] * 6), RoundConfig(tokens=512, replay_share=0.0))
    layout = Layout(m)
    assert [len(layout.rows_of(step)) for step in range(3)] == [4, 2, 0]
    assert layout.rows_of(1, first=2, count=2).tolist() == []
