"""Do the counts of sources and periods add up to what `verify` says, and to what a slow count says?"""

from collections import Counter

import numpy as np
import pytest

from cluster.storage.store import Store
from data_ops.audit.account import STATES, Stand, account, read_stand
from data_ops.audit.by_period import TrainedRounds, by_source_and_period, counts_of_sources, total
from data_ops.lake.lake import Lake
from data_ops.rounds.layout import Layout
from data_ops.rounds.manifest import Manifest
from tests.data_ops.audit.test_account import Story
from tests.support.lakes import make_lake

pytestmark = pytest.mark.slow

MINE = TrainedRounds("r", Stand())


def sums(lake, run="r"):
    """The counts of `by_source_and_period` under the names of the account."""
    whole = total(by_source_and_period(lake, [TrainedRounds(run, read_stand(lake, run))]))
    found = {name: getattr(whole, name) for name in STATES if name not in ("dropped", "quarantined", "lost")}
    return {
        "read": whole.read,
        **found,
        "dropped": sum(whole.dropped.values()),
        "quarantined": sum(whole.quarantined.values()),
    }


def audited(lake, run="r"):
    found = account(lake, run).to_dict()
    return {name: found[name] for name in ("read", *STATES) if name != "lost"}


@pytest.mark.parametrize("config", [{}, {"max_backlog_tokens": 1}])
def test_the_sums_are_those_of_verify(tmp_path, config):
    story = Story(**config)
    story.state = '{"position": {"skipped": [[0, 0]]}}'
    assert story.account(tmp_path).ok
    lake = Lake(Store.open(str(tmp_path)))
    found = sums(lake)
    assert found == audited(lake)
    assert found["trained"] and found["pending"] | found["shed"] and found["skipped"] and found["held_out"]


def test_what_was_forgotten_is_told_apart_and_what_of_it_is_in_the_weights(tmp_path):
    story = Story()
    story.account(tmp_path)
    lake = Lake(Store.open(str(tmp_path)))
    first, last = story.manifests[0].fresh, story.manifests[-1]
    waits = np.flatnonzero(Layout(last).last_steps[: len(last.fresh)] >= story.place[1])[:1]
    lake.forget(np.concatenate([first.ids[:2], last.fresh.ids[waits]]))
    whole = total(by_source_and_period(lake, [TrainedRounds("r", read_stand(lake, "r"))]))
    assert sums(lake) == audited(lake)
    assert (whole.forgotten, whole.forgotten_trained) == (3, 2)


def slow_replay(lake, run, stand):
    """Draws by document, as the layouts of the rounds say, one document at a time."""
    rows, found = lake.rounds(run), Counter()
    for index in range(rows.num_rows):
        manifest = Manifest.from_row(rows, index)
        layout = Layout(manifest)
        for place in range(len(manifest.fresh), len(manifest.documents)):
            if (manifest.round, int(layout.steps_of(place)[-1])) < stand.place:
                found[int(manifest.documents.windows[place]), int(manifest.documents.positions[place])] += 1
    return found


def test_replay_and_tokens_are_those_of_a_count_document_by_document(tmp_path):
    story = Story()
    story.account(tmp_path)
    lake, stand = Lake(Store.open(str(tmp_path))), Stand(story.place)
    draws = slow_replay(lake, "r", stand)
    rows = {(r["window"], r["position"]): r for r in lake.documents(0, lake.last_window()).to_pylist()}
    expected = Counter()
    for place, number in draws.items():
        expected[rows[place]["event_time"].strftime("%Y-%m-%d")] += number * rows[place]["num_tokens"]
    found = by_source_and_period(lake, [TrainedRounds("r", stand)], "day")
    assert {one.period: one.replayed_tokens for one in found if one.replayed} == dict(expected) and len(expected) > 1
    assert total(found).replayed == sum(draws.values())
    times = [row["event_time"] for row in rows.values()]
    assert (total(found).first, total(found).last) == (min(times), max(times))
    assert [one.source for one in counts_of_sources(found)] == ["mine"]


def test_without_rounds_everything_waits_and_an_empty_lake_has_nothing(tmp_path):
    assert by_source_and_period(make_lake(tmp_path), [MINE]) == []
    story = Story()
    story.manifests, story.place = [], None
    story.account(tmp_path / "read")
    whole = total(by_source_and_period(Lake(Store.open(str(tmp_path / "read"))), [MINE]))
    assert (whole.pending, whole.trained, whole.replayed) == (story.kept, 0, 0)
