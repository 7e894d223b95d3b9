"""Does a feed whose run's mixture is changed go on with the same stream, wherever it is started anew?

The product's feed, lake and command, without Ray: a feed is forgotten and another started before, in and behind the
change, which is what a kill leaves.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import headrace
from cluster.runtime.actors import Local
from data_ops.audit.account import account
from data_ops.lake.lake import Lake
from data_ops.mixing.config import MixtureConfig
from data_ops.rounds.config import RoundConfig
from data_ops.rounds.manifest import Manifest, Planning, Shape
from data_ops.rounds.masking import RowObjective
from data_ops.sampling.reservoir import ReservoirConfig
from data_ops.sampling.shard import Shard
from ray_jobs.config.schema import Config
from ray_jobs.mixture.asking import Action, Asking
from ray_jobs.mixture.command import mix_command
from ray_jobs.mixture.standing import standing
from ray_jobs.training.actors.feed import BRANCH, Feed, FeedSettings
from tests.support.lakes import add_window, make_documents, make_lake

pytestmark = pytest.mark.slow

RUN, LAST = "mine", 5
STARTED = MixtureConfig(shares={"a": 1, "b": 1})
CHANGES = [("add", "c=0.5"), ("set", "by_time")]
MORE = [("set", "a=3", "b=1"), ("pause", "b"), ("remove", "b"), ("schedule", "0:a=1", "900:a=1,b=4")]


class Unhurried(Feed):
    """A feed that plans a round when it is asked for, so that the tests say when."""

    def _get_ahead(self, number: int) -> None:
        return


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Windows in which three sources have 30, 10 and 5 documents each, and a run that was started."""
    lake: Lake = make_lake(tmp_path)
    for number in range(LAST + 1):
        parts, position = [], 0
        for source, count in (("a", 30), ("b", 10), ("c", 5)):
            fates = ["kept"] * count
            parts.append(
                make_documents(number, fates, count * number, source=source, position=position, days=number % 3)
            )
            position += count
        add_window(lake, pa.concat_tables(parts))
    lake.store.write(f"runs/{RUN}/config.json", b"{}")
    return lake


def feed_of(lake: Lake, mixture: MixtureConfig | None = STARTED, shards: int = 2) -> Feed:
    """A feed that knows nothing."""
    plan = Planning(
        RoundConfig(tokens=300, replay_share=0.3), ReservoirConfig(capacity=60, shards=shards), Shape(32, 2), 3, mixture
    )
    feed = Unhurried(FeedSettings(lake.store.uri, RUN, plan, RowObjective(999)), lambda *given: Local(Shard(*given)))
    feed.drained(LAST)
    return feed


def mix(lake: Lake, *words: str, from_round: int = 0) -> None:
    """Type `headrace mix`."""
    action, *rest = words
    mix_command(Config(store=lake.store.uri, name=RUN), Asking(Action(action), rest, from_round=from_round))


def stream(lake: Lake, starts: Sequence[int], change: tuple[str, ...] | None, at: int) -> list[np.ndarray]:
    """All rows of the run; the feed is started anew before these rounds, and the mixture changed before round `at`."""
    rows, number, feed = [], 0, feed_of(lake)
    while True:
        if number == at and change:
            mix(lake, *change)
        if number in starts:
            feed = feed_of(lake)
        notice = feed.round(number)
        if notice is None or notice.steps < 0:
            return rows
        rows += [feed.batch(number, step, 0, 1).rows.inputs for step in range(notice.steps)]
        number += 1


def manifests(lake: Lake) -> list[Manifest]:
    table = lake.rounds(RUN)
    return [Manifest.from_row(table, index) for index in range(table.num_rows)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", [*CHANGES, *(pytest.param(one, marks=pytest.mark.long) for one in MORE)], ids=" ".join
)
def test_a_feed_started_anew_before_in_and_behind_a_change_gives_the_same_rows(
    lake: Lake, tmp_path_factory: pytest.TempPathFactory, change: tuple[str, ...]
) -> None:
    rows = stream(lake, (2, 3, 4, 6), change, 3)
    planned = manifests(lake)
    assert [m.mix.version for m in planned if m.mix][:5] == [0, 0, 0, 1, 1]
    again = [feed_of(lake).batch(n, s, 0, 1).rows.inputs for n, m in enumerate(planned) for s in range(m.steps)]
    for once, twice in zip(rows, again, strict=True):
        np.testing.assert_array_equal(once, twice)
    other = make_copy(lake, tmp_path_factory.mktemp("other"))
    mix_declared(other, change)
    quiet = stream(other, (), None, -1)
    assert [m.to_row() for m in manifests(other)] == [m.to_row() for m in planned]
    for once, twice in zip(rows, quiet, strict=True):
        np.testing.assert_array_equal(once, twice)
    assert account(lake, RUN).ok and account(lake, RUN).lost == account(lake, RUN).repeated == 0


def make_copy(lake: Lake, folder: Path) -> Lake:
    """The same windows in another lake, without any round."""
    other: Lake = make_lake(folder)
    for number in range(LAST + 1):
        add_window(other, lake.documents(number, number))
    other.store.write(f"runs/{RUN}/config.json", b"{}")
    return other


def mix_declared(lake: Lake, change: tuple[str, ...]) -> None:
    """Declare the change before the run begins, for round 3."""
    feed_of(lake)._mixture(0)
    mix(lake, *change, from_round=3)


def test_a_run_without_a_mixture_gets_one_and_loses_it_again(lake: Lake) -> None:
    feed = feed_of(lake, None)
    assert [feed.round(number).mixture for number in range(2)] == [-1, -1]
    trained = sum(int(m.documents.lengths.sum()) for m in manifests(lake))
    assert standing(lake.store, RUN).trained == trained, "counted though no round had a mixture"
    mix(lake, "set", "a=1", "c=1")
    assert feed.round(2).mixture == 0 and set(feed.round(2).shares) == {"a", "c"}
    assert manifests(lake)[2].mix.trained == trained + manifests(lake)[2].documents.lengths.sum()
    mix(lake, "set", "log")
    number = 3
    while feed.round(number).steps >= 0:
        number += 1
    told = account(lake, RUN)
    assert told.ok and told.pending == told.read, "no checkpoint, and everything is planned once"
    planned = sum(len(m.fresh) for m in manifests(lake))
    assert planned == told.read


def test_a_limit_of_replay_holds_through_restarts_and_at_any_number_of_shards_and_plan_tells_what_is_left(
    lake: Lake, tmp_path_factory: pytest.TempPathFactory
) -> None:
    limited = STARTED.model_copy(update={"max_repeats": {"a": 1, "b": 9}})
    calm = make_copy(lake, tmp_path_factory.mktemp("calm"))
    one, number = feed_of(calm, limited, shards=1), 0
    while one.round(number).steps >= 0:
        feed_of(lake, limited).round(number)
        number += 1
    assert [m.to_row() for m in manifests(lake)] == [m.to_row() for m in manifests(calm)]
    counts = Counter(place for m in manifests(lake) for place in zip(m.replay.windows, m.replay.positions, strict=True))
    sources = dict(zip(zip(*places_of(lake), strict=True), sources_of(lake), strict=True))
    assert {sources[place] for place, count in counts.items() if count > 1} == {"b"} and max(counts.values()) <= 9
    lines, told = mix_command(Config(store=lake.store.uri, name=RUN), Asking(Action.PLAN))
    assert told["replay"]["b"]["left"] > 0 and told["replay"]["b"]["tokens"] > 0
    assert any("tokens may be replayed" in line and "last for" in line for line in lines)


def sources_of(lake: Lake) -> list[str]:
    return lake.documents(0, LAST, ["source"], ["kept"])["source"].to_pylist()


def test_a_document_that_the_rounds_have_gone_behind_in_its_source_is_lost(lake: Lake) -> None:
    feed = feed_of(lake, MixtureConfig(shares={"a": 1}))
    for number in range(4):
        assert feed.round(number).steps > 0
    told = account(lake, RUN)
    assert told.ok and told.lost == 0
    rows = lake.documents(0, LAST, ["source"], ["kept"])["source"].to_pylist()
    assert told.pending == len(rows), "what waits in the other sources is not lost"
    broken = manifests(lake)
    honest = broken[-1]
    fresh = honest.fresh.take(np.arange(1, len(honest.fresh)))
    other = make_copy(lake, Path(lake.store.uri) / "other")
    for m in broken[:-1]:
        other.add_round(RUN, m.round, m.to_row())
    other.add_round(RUN, honest.round, Manifest(**{**vars(honest), "fresh": fresh}).to_row())
    assert account(other, RUN).lost == 1


def test_a_branch_draws_from_what_was_planned_and_not_from_a_removed_source(lake: Lake) -> None:
    feed = feed_of(lake, MixtureConfig(shares={"a": 1, "b": 3}))
    for number in range(4):
        feed.round(number)
    mix(lake, "remove", "b")
    notice = feed.branch(7, 4, 400)
    assert notice.steps > 0 and len(feed.batch(BRANCH, 0, 0, 1).rows.inputs)
    branch = Manifest.from_row(lake.rounds(f"{RUN}@00000007", 0), 0)
    done = {tuple(i) for m in manifests(lake) for i in m.fresh.ids.tolist()}
    replayed = {tuple(i) for i in branch.replay.ids.tolist()}
    sources = dict(
        zip(
            [(w, p) for w, p in zip(*places_of(lake), strict=True)],
            lake.documents(0, LAST, ["source"], ["kept"])["source"].to_pylist(),
            strict=True,
        )
    )
    where = zip(branch.replay.windows.tolist(), branch.replay.positions.tolist(), strict=True)
    assert replayed <= done and {sources[place] for place in where} == {"a"}
    assert branch.begins == manifests(lake)[-1].ends == branch.ends


def places_of(lake: Lake) -> tuple[list[int], list[int]]:
    rows = lake.documents(0, LAST, ["window", "position"], ["kept"])
    return rows["window"].to_pylist(), rows["position"].to_pylist()


def test_the_feed_of_somebody_elses_loop_is_mixed_too_and_changed_by_the_command(tmp_path: Path) -> None:
    from tests.ray_jobs.library.fed_store import grow

    store = grow(tmp_path, 120)
    settings = {"row_tokens": 64, "batch_tokens": 256, "round": {"tokens": 2048}, "mixture": {"shares": {"wire": 1}}}
    with headrace.feed(store, "loop", settings=settings) as feed:
        next(feed)
        mix_command(Config(store=store, name="loop"), Asking(Action.SET, ["by_time"]))
        for _ in feed:
            pass
        feed.commit()
    table = Lake(feed.store).rounds("loop")
    versions = [Manifest.from_row(table, index).mix.version for index in range(table.num_rows)]
    assert versions[0] == 0 and versions[-1] == 1 and versions == sorted(versions)
    told = headrace.verify(store, "loop")
    assert told.ok and told.pending == 0
