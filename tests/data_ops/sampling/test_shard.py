"""Is the sample of any number of shards, however often they died, the sample of one reservoir?"""

import numpy as np
import pyarrow as pa
import pytest

from cluster.storage.store import Store
from data_ops.documents.frontier import Frontier
from data_ops.documents.place import Place
from data_ops.kernels.arrays import ids_to_array
from data_ops.kernels.id_sets import is_member
from data_ops.lake.lake import Lake
from data_ops.sampling import shard as shard_module
from data_ops.sampling.reservoir import Reservoir, ReservoirConfig
from data_ops.sampling.shard import COLUMNS, Shard, event_seconds, merge_shards
from tests.support.lakes import add_window, fill_lake, make_documents, make_lake

pytestmark = pytest.mark.slow

SEED = 11
DAY = 86400.0
WINDOWS = [["kept", "held_out", "kept", "dropped", *["kept"] * 116] for _ in range(6)]  # a sketch holds 89


def config_of(shards, capacity=40):
    return ReservoirConfig(capacity=capacity, half_life=(100 * DAY, None), shards=shards)


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    lake = make_lake(tmp_path_factory.mktemp("lake"))
    fill_lake(lake, WINDOWS)
    return lake


@pytest.fixture(autouse=True)
def few_windows_at_once(monkeypatch):
    monkeypatch.setattr(shard_module, "ROWS_AT_ONCE", 20)


def sample_of(lake, config, window):
    shards = [Shard(lake, config, SEED, number) for number in range(config.shards)]
    return merge_shards(config, SEED, [shard.state(Frontier.through(window)) for shard in shards])


def reservoirs_of(lake, config, window):
    """The sample in one process, one reservoir per half-life over all kept documents."""
    rows = lake.documents(0, window, COLUMNS, ["kept"])
    sketches = []
    for capacity, half_life in zip(config.capacities, config.half_lives_s, strict=True):
        sketches.append(Reservoir(capacity, half_life, SEED))
        sketches[-1].add(ids_to_array(rows["id"]), event_seconds(rows["event_time"]), rows["weight"].to_numpy())
    return sketches


def names(ids):
    return [tuple(i) for i in ids.tolist()]


def same(one, other):
    assert one.fingerprint == other.fingerprint
    for name, column in vars(one.documents).items():
        np.testing.assert_array_equal(column, getattr(other.documents, name))


@pytest.mark.parametrize("window", [0, 3, 5])
@pytest.mark.parametrize("shards", [1, 2, 3])
def test_shards_together_hold_the_sample_of_one_reservoir(lake, shards, window):
    sample = sample_of(lake, config_of(shards), window)
    sketches = reservoirs_of(lake, config_of(shards), window)
    expected = {name for sketch in sketches for name in names(sketch.sample(sketch.capacity))}
    assert names(sample.documents.ids) == sorted(expected)
    assert sample.fingerprint == "-".join(sketch.fingerprint()[:16] for sketch in sketches)


def test_a_sampled_document_has_the_place_and_size_of_the_lake(lake):
    documents = sample_of(lake, config_of(2), 5).documents
    rows = lake.documents(0, 5, ["id", "window", "position", "num_tokens"], ["kept"])
    known = dict(zip(names(ids_to_array(rows["id"])), rows.drop_columns(["id"]).to_pylist(), strict=True))
    for i, name in enumerate(names(documents.ids)):
        found = {"window": documents.windows[i], "position": documents.positions[i]}
        assert {**found, "num_tokens": documents.num_tokens[i]} == known[name]


def test_the_order_of_shards_changes_nothing(lake):
    states = [Shard(lake, config_of(3), SEED, number).state(Frontier.through(5)) for number in range(3)]
    same(merge_shards(config_of(3), SEED, states), merge_shards(config_of(3), SEED, states[::-1]))


@pytest.mark.slow
def test_a_shard_advanced_step_by_step_or_rebuilt_at_once_is_the_same(lake):
    walked = [Shard(lake, config_of(2), SEED, number) for number in range(2)]
    for window in range(6):
        for shard in walked:
            shard.advance(Frontier.through(window))
        rebuilt = sample_of(lake, config_of(2), window)
        same(merge_shards(config_of(2), SEED, [shard.state(Frontier.through(window)) for shard in walked]), rebuilt)


def test_advancing_twice_is_advancing_once(lake):
    shard = Shard(lake, config_of(1), SEED, 0)
    once = merge_shards(config_of(1), SEED, [shard.state(Frontier.through(4))])
    shard.advance(Frontier.through(4))
    shard.advance(Frontier.through(2))
    same(merge_shards(config_of(1), SEED, [shard.state(Frontier.through(4))]), once)
    assert shard.reached == Frontier.through(4)


def test_a_shard_that_went_ahead_gives_an_earlier_window_as_if_it_had_not(lake):
    """A decay branch asks for the lake's last window; a worker group that is started again plans a round before it."""
    shard = Shard(lake, config_of(1), SEED, 0)
    shard.state(Frontier.through(5))
    again = merge_shards(config_of(1), SEED, [shard.state(Frontier.through(2))])
    same(again, merge_shards(config_of(1), SEED, [Shard(lake, config_of(1), SEED, 0).state(Frontier.through(2))]))


def test_a_shard_gives_the_tokens_of_sampled_documents_and_of_no_others(lake):
    rows = lake.documents(0, 5, ["id", "tokens"], ["kept"])
    ids = ids_to_array(rows["id"])
    known = dict(zip(names(ids), rows["tokens"].to_pylist(), strict=True))
    held = {}
    for number in range(2):
        shard = Shard(lake, config_of(2), SEED, number)
        shard.advance(Frontier.through(5))
        found, tokens = shard.tokens(ids)
        assert (found[:, 1] % 2 == number).all()
        assert len(found) == shard.rows.num_rows < 200 < len(ids) / 3
        held |= dict(zip(names(found), tokens.to_pylist(), strict=True))
        assert len(shard.tokens(ids[:0])[0]) == 0
    assert set(names(sample_of(lake, config_of(2), 5).documents.ids)) <= set(held)
    assert all(known[name] == tokens for name, tokens in held.items())


def test_an_empty_lake_has_an_empty_sample(tmp_path):
    lake = make_lake(tmp_path)
    sample = sample_of(lake, config_of(2), -1)
    assert len(sample.documents) == 0
    add_window(lake, make_documents(0, ["dropped", "quarantined"]))
    same(sample_of(lake, config_of(2), 0), sample)


def test_only_kept_documents_are_sampled(lake):
    everything = sample_of(lake, config_of(2, capacity=10_000), 5).documents
    kept = ids_to_array(lake.documents(0, 5, ["id"], ["kept"])["id"])
    assert len(everything) == len(kept)
    assert is_member(everything.ids, kept).all()


def mixed_windows(lake):
    """Two sources in every window."""
    for number in range(5):
        tables = [make_documents(number, ["kept"] * 30, 60 * number, source="a")]
        tables.append(make_documents(number, ["kept"] * 20, 60 * number, source="b", position=30))
        add_window(lake, pa.concat_tables(tables))


FRONTIERS = [
    Frontier(Place(1)),
    Frontier(Place(1), {"a": Place(3)}),
    Frontier(Place(2), {"a": Place(4)}),
    Frontier(Place(2), {"a": Place(4), "b": Place(3)}),
    Frontier(Place(5)),
]


def test_sources_are_folded_in_each_as_far_as_it_is(tmp_path):
    """In one go, step by step, and after going back, it is the sample of the documents before the frontier."""
    lake, config = make_lake(tmp_path), config_of(2)
    mixed_windows(lake)
    walked = [Shard(lake, config, SEED, number) for number in range(2)]
    for upto in [*FRONTIERS, FRONTIERS[1]]:
        sample = merge_shards(config, SEED, [shard.state(upto) for shard in walked])
        fresh = [Shard(lake, config, SEED, number) for number in range(2)]
        same(sample, merge_shards(config, SEED, [shard.state(upto) for shard in fresh]))
        rows = lake.documents(0, 4, COLUMNS, ["kept"])
        before = rows.filter(pa.array(~upto.waiting(rows["source"], *(rows[c].to_numpy() for c in COLUMNS[1:3]))))
        for capacity, half_life, name in zip(
            config.capacities, config.half_lives_s, sample.fingerprint.split("-"), strict=True
        ):
            sketch = Reservoir(capacity, half_life, SEED)
            sketch.add(ids_to_array(before["id"]), event_seconds(before["event_time"]), before["weight"].to_numpy())
            assert sketch.fingerprint()[:16] == name
        assert set(sample.without(["a"]).sources) <= {"b"}
        assert len(sample.without(["a"]).documents) == sum(source == "b" for source in sample.sources)


class NotingLake(Lake):
    """A lake that notes which windows were read."""

    read = ()

    def documents(self, first, last, *more):
        self.read = (*self.read, *range(first, last + 1))
        return super().documents(first, last, *more)


def test_a_window_is_read_once_for_each_source_that_moves_over_it(tmp_path):
    mixed_windows(make_lake(tmp_path))
    lake = NotingLake(Store.open(str(tmp_path)))
    shard = Shard(lake, config_of(1), SEED, 0)
    shard.advance(Frontier(Place(0), {"a": Place(4)}))
    shard.advance(Frontier(Place(1), {"a": Place(4)}))
    assert lake.read == (0, 1, 2, 3, 0)
