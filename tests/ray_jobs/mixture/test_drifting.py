"""Does a source whose text has changed wait, from the window on that shows it, until somebody resumes it?

The product's feed, lake and commands, without Ray: a feed is forgotten and another started before every round.
"""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from cluster.runtime.actors import Local
from data_ops.lake.lake import Lake
from data_ops.mixing.config import MixtureConfig
from data_ops.mixing.versions import versions
from data_ops.rounds.config import RoundConfig
from data_ops.rounds.manifest import Manifest, Planning, Shape
from data_ops.rounds.masking import RowObjective
from data_ops.sampling.reservoir import ReservoirConfig
from data_ops.sampling.shard import Shard
from ray_jobs.commands.status import status, status_lines
from ray_jobs.config.schema import Config
from ray_jobs.mixture.asking import Action, Asking
from ray_jobs.mixture.command import mix_command
from ray_jobs.training.actors.feed import Feed, FeedSettings
from tests.support.lakes import add_window, make_documents, make_lake

pytestmark = pytest.mark.slow

RUN, LAST, CHANGED = "mine", 9, 6


class Unhurried(Feed):
    """A feed that plans a round when it is asked for."""

    def _get_ahead(self, number: int) -> None:
        return


def filled(folder: Path, sources: str = "ab") -> Lake:
    """Windows of two sources; from one on the text of b is eight times as long for its tokens."""
    lake: Lake = make_lake(folder)
    for number in range(LAST + 1):
        parts = [
            make_documents(number, ["kept"] * 120, 120 * number, source=source, position=120 * place)
            for place, source in enumerate(sources)
        ]
        for place, (source, part) in enumerate(zip(sources, parts, strict=True)):
            sizes = pa.array([40 + offset % 17 for offset in part["offset"].to_pylist()], pa.int64())
            sizes = pc.multiply(sizes, 8 if source == "b" and number >= CHANGED else 1)
            column = part.column_names.index("num_bytes")
            parts[place] = part.set_column(column, part.schema.field(column), sizes)
        add_window(lake, pa.concat_tables(parts))
    lake.store.write(f"runs/{RUN}/config.json", json.dumps({"sources": {"a": {}, "b": {}}}).encode())
    return lake


def feed_of(lake: Lake, drift: str) -> Feed:
    mixture = MixtureConfig.model_validate({"shares": {"a": 1, "b": 1}, "drift": drift})
    rounds, reservoir = RoundConfig(tokens=1500, replay_share=0.2), ReservoirConfig(capacity=60)
    plan = Planning(rounds, reservoir, Shape(32, 2), 3, mixture)
    feed = Unhurried(FeedSettings(lake.store.uri, RUN, plan, RowObjective(999)), lambda *given: Local(Shard(*given)))
    feed.drained(LAST)
    return feed


def planned(lake: Lake, drift: str, first: int = 0) -> list[Manifest]:
    """Plan to the end, each round by a feed that knows nothing."""
    number = first
    while feed_of(lake, drift).round(number).steps >= 0:
        number += 1
    table = lake.rounds(RUN)
    return [Manifest.from_row(table, index) for index in range(table.num_rows)]


def windows_of(lake: Lake, manifests: list[Manifest], source: str) -> set[int]:
    rows = lake.documents(0, LAST, ["window", "position", "source"], ["kept"])
    mine = rows.filter(pc.equal(rows["source"], source))
    places = set(zip(mine["window"].to_pylist(), mine["position"].to_pylist(), strict=True))
    fresh = {p for m in manifests for p in zip(m.fresh.windows.tolist(), m.fresh.positions.tolist(), strict=True)}
    return {window for window, _ in places & fresh}


def test_a_source_that_has_changed_waits_until_it_is_resumed_and_is_not_paused_again(tmp_path: Path) -> None:
    lake = filled(tmp_path)
    manifests = planned(lake, "pause")
    there = versions(lake.store, RUN)
    assert [one.by for one in there] == ["configuration", "drift"]
    assert there[1].drifted == {"b": CHANGED} and there[1].rule.paused == ("b",)
    assert max(windows_of(lake, manifests, "b")) < CHANGED and max(windows_of(lake, manifests, "a")) == LAST
    assert [one.window for m in manifests if m.mix and m.mix.watch for one in m.mix.watch.alarms] == [CHANGED]
    assert "waits for headrace mix resume b" in "\n".join(status_lines(status(lake.store)))
    asked = Config(store=lake.store.uri, name=RUN)
    assert any("the text of b has changed" in line for line in mix_command(asked, Asking(Action.SHOW))[0])
    mix_command(asked, Asking(Action.RESUME, ["b"]))
    manifests = planned(lake, "pause", len(manifests))
    assert max(windows_of(lake, manifests, "b")) == LAST
    assert [one.by for one in versions(lake.store, RUN)] == ["configuration", "drift", "command"]
    assert "drift" not in "\n".join(status_lines(status(lake.store)))


def test_an_only_source_is_not_paused_again_though_no_round_has_recorded_its_alarm(tmp_path: Path) -> None:
    lake = filled(tmp_path, "b")
    manifests = planned(lake, "pause")
    assert not [m for m in manifests if m.mix and m.mix.watch and m.mix.watch.alarms]
    mix_command(Config(store=lake.store.uri, name=RUN), Asking(Action.RESUME, ["b"]))
    manifests = planned(lake, "pause", len(manifests))
    assert max(windows_of(lake, manifests, "b")) == LAST
    assert [one.by for one in versions(lake.store, RUN)] == ["configuration", "drift", "command"]


def test_a_killed_planner_pauses_once_and_at_the_same_round_as_a_calm_one(tmp_path: Path) -> None:
    lake, calm = filled(tmp_path / "killed"), filled(tmp_path / "calm")
    one, number = feed_of(calm, "pause"), 0
    while one.round(number).steps >= 0:
        number += 1
    manifests = planned(lake, "pause")
    table = calm.rounds(RUN)
    assert [m.to_row() for m in manifests] == [Manifest.from_row(table, n).to_row() for n in range(number)]
    assert [(v.version, v.from_round) for v in versions(lake.store, RUN)] == [
        (v.version, v.from_round) for v in versions(calm.store, RUN)
    ]


def test_where_it_is_only_said_nothing_is_paused(tmp_path: Path) -> None:
    lake = filled(tmp_path)
    manifests = planned(lake, "log")
    assert max(windows_of(lake, manifests, "b")) == LAST and len(versions(lake.store, RUN)) == 1
    told = [m for m in manifests if m.mix and m.mix.watch and m.mix.watch.alarms]
    notice = feed_of(lake, "log").round(told[0].round)
    assert notice.drift_alarms == 1 and "the text of b has changed" in notice.drifted[0] and notice.drift["b"] > 0
