"""What does a store say of a run's mixture: which version is in force, what was trained by it, what waits?"""

from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.storage.state import read_json
from cluster.storage.store import Store
from data_ops.documents.frontier import Frontier
from data_ops.lake.lake import Lake
from data_ops.mixing.config import MixtureConfig
from data_ops.mixing.versions import MixtureVersion, versions
from data_ops.rounds.manifest import Manifest
from data_ops.rounds.next_round import behind_round
from ray_jobs.outcome import ConfigError
from ray_jobs.store.paths import fed_path, run_path

LOOK_BACK = 20  # rounds over which the realised shares are told


class OfRounds(msgspec.Struct):
    """Of a run's recorded `round` settings."""

    replay_share: float = 0.25
    max_backlog_tokens: int | None = None


class Recorded(msgspec.Struct):
    """What a run was started with, as far as it concerns its mixture."""

    round: OfRounds = msgspec.field(default_factory=OfRounds)
    mixture: dict[str, object] | None = None
    sources: dict[str, object] = {}

    @property
    def configured(self) -> MixtureConfig | None:
        """The mixture of the configuration."""
        return None if self.mixture is None else MixtureConfig.model_validate(self.mixture)


class Standing(NamedTuple):
    """A run's mixture as a store tells it."""

    recorded: Recorded
    versions: list[MixtureVersion]  # all of them, oldest first
    manifests: list[Manifest]  # the last rounds that are planned, oldest first
    sources: set[str]  # that are configured or have documents
    waiting: dict[str, int]  # positions behind the planned rounds, by source
    num_rounds: int  # that are planned
    trained: int  # positions of these rounds, fresh and replayed

    @property
    def in_force(self) -> MixtureVersion | None:
        """What the newest planned round was cut by."""
        mix = self.manifests[-1].mix if self.manifests else None
        return None if mix is None else next((one for one in self.versions if one.version == mix.version), None)

    @property
    def newest(self) -> MixtureConfig:
        """What the next change goes on from."""
        if self.versions:
            return self.versions[-1].rule
        return self.recorded.configured or MixtureConfig()

    @property
    def replay_share(self) -> float:
        """The share of replay that the next round asks for."""
        mine = self.newest.replay_share
        return self.recorded.round.replay_share if mine is None else mine

    @property
    def repeats(self) -> dict[str, tuple[int, float]]:
        """Of each source with a limit: positions that may still be replayed, and its share of the last rounds' tokens.

        Nothing where the newest planned round had no limit.
        """
        mixes = [manifest.mix for manifest in self.manifests if manifest.mix is not None]
        last = mixes[-1].repeats if mixes else None
        if last is None:
            return {}
        limited = [mix for mix in mixes if mix.repeats is not None]
        total = sum(sum(mix.tokens.values()) + sum(mix.repeats.given.values()) for mix in limited if mix.repeats)
        given = {k: sum(mix.repeats.given.get(k, 0) for mix in limited if mix.repeats) for k in last.left}
        return {k: (left, given[k] / total if total else 0.0) for k, left in last.left.items()}

    def realised(self) -> dict[str, float]:
        """Shares of the fresh tokens in the last rounds, as far as they had a mixture."""
        tokens = pa.table({"source": pa.array([], pa.string()), "tokens": pa.array([], pa.int64())})
        for mix in [manifest.mix for manifest in self.manifests if manifest.mix is not None]:
            rows = {"source": pa.array(list(mix.tokens), pa.string()), "tokens": list(mix.tokens.values())}
            tokens = pa.concat_tables([tokens, pa.table(rows, schema=tokens.schema)])
        return _shares(tokens)


def standing(store: Store, run: str) -> Standing:
    """Look. Raises ConfigError where the store has no such run."""
    lake, recorded = Lake(store), recorded_of(store, run)
    number = lake.num_rounds(run)
    rows = [lake.rounds(run, n) for n in range(max(0, number - LOOK_BACK), number)]
    manifests = [Manifest.from_row(row, 0) for row in rows]
    ends = manifests[-1].ends if manifests else Frontier()
    columns = ["source", "window", "position", "num_tokens"]
    log = lake.documents(ends.base.window, lake.last_window(), columns, ["kept"])
    waits = log.filter(pa.array(ends.waiting(log["source"], log["window"].to_numpy(), log["position"].to_numpy())))
    waiting = _tokens(waits.append_column("tokens", pc.add(waits["num_tokens"], 1)))
    known = {label for _, cursors in lake.cursors() for label in cursors}
    nothing = MixtureVersion(version=0, mixture=None)  # so that what was trained before any mixture is counted
    trained = behind_round(lake, run, manifests[-1], nothing).before.tokens if manifests else 0
    known |= set(recorded.sources)
    return Standing(recorded, versions(store, run), manifests, known, waiting, number, trained)


def recorded_of(store: Store, run: str) -> Recorded:
    """What a run was started with: by `headrace run`, or by the feed of somebody else's loop."""
    for path in (run_path(run, "config.json"), fed_path(run)):
        if store.exists(path):
            return read_json(store, path, Recorded)
    raise ConfigError(f"store {store.uri} has no run name={run}; start it first, or name another")


def _tokens(rows: pa.Table) -> dict[str, int]:
    summed = rows.select(["source", "tokens"]).group_by("source").aggregate([("tokens", "sum")])
    return {row["source"]: int(row["tokens_sum"]) for row in summed.sort_by("source").to_pylist()}


def _shares(rows: pa.Table) -> dict[str, float]:
    tokens = _tokens(rows)
    total = float(np.sum(list(tokens.values()))) or 1.0
    return {label: count / total for label, count in tokens.items()}
