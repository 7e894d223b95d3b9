"""Does a run whose mixture is changed while it goes on train the same batches, wherever it is killed around the change?

Two sources of unequal size. Each run is killed before, in, or after the first round that the change is in force in, and
resumed; the change comes while it trains, or, before, between kill and resume. It is compared with a run that was never
killed and had the change declared for that same round from its start. What each batch held is read off the rows that
reach the engine, as in `ours`.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.matrix.desk import use_forkserver
from benchmarks.matrix.ours import Bench, Chain
from benchmarks.matrix.protocol import CHANGES, SIZES, compare, consumed, mixed
from benchmarks.root import ROOT
from cluster.runtime.config import ClusterConfig
from cluster.runtime.session import connect
from data_ops.audit.account import account
from data_ops.rounds.manifest import Manifest
from ray_jobs.config.reading import check
from ray_jobs.config.schema import Config
from ray_jobs.mixture.asking import Action, Asking
from ray_jobs.mixture.command import mix_command
from ray_jobs.training.actors.feed import Feed, FeedSettings
from ray_jobs.training.actors.notice import RoundNotice

STAGE = 1
CHANGED_AT = 2  # when this round is asked for, the mixture is changed: the next one is not planned yet
MOMENTS = {"before": 13, "in": 28, "after": 41}  # the global step behind which the run is killed


@dataclass
class MixChain(Chain):
    """A run whose mixture is changed; one that is never killed has the change declared for a round."""

    change: str = ""
    moment: str = "never"
    declared: int | None = None

    @property
    def run(self) -> str:
        """Name of the run."""
        declared = "" if self.declared is None else f"-{self.declared}"
        return f"{self.change}-{self.worlds[0]}-{self.moment}{declared}"

    def typed(self, bench: Bench, from_round: int = 0) -> None:
        """Do what `headrace mix` does."""
        assert bench.opened is not None
        action, *words = CHANGES[self.change][1]
        asked = Asking(Action(action), words, from_round=from_round)
        mix_command(bench.config(self, self.worlds[0]), asked)


class ChangingFeed(Feed):
    """The product's feed; somebody changes the mixture in the moment in which a round is asked for."""

    def __init__(self, settings: FeedSettings, bench: Bench, chain: MixChain) -> None:
        super().__init__(settings)
        self.bench, self.chain = bench, chain
        self.due = chain.moment in ("in", "after")

    def round(self, number: int) -> RoundNotice | None:
        """Change the mixture once, then answer."""
        if self.due and number == CHANGED_AT:
            self.due = False
            self.chain.typed(self.bench)
        return super().round(number)


class MixBench(Bench):
    """A store in which every run has a mixture."""

    def config(self, chain: Chain, world: int) -> Config:
        """The configuration of one attempt; the run's record of it stands in the store, as a driver writes it."""
        plain = super().config(chain, world).model_dump(mode="json", exclude_unset=True)
        shares = CHANGES[chain.change][0] if isinstance(chain, MixChain) else None
        return check({**plain, "name": chain.run, **({"mixture": {"shares": shares}} if shares else {})})

    def feed(self, settings: FeedSettings, chain: Chain) -> Feed:
        """A feed whose mixture is changed at the chain's moment."""
        assert isinstance(chain, MixChain) and self.opened is not None
        store, config = self.opened.store, self.config(chain, chain.worlds[0])
        store.write(f"runs/{chain.run}/config.json", config.model_dump_json().encode())
        if chain.declared is not None and not self.manifests(chain):
            chain.typed(self, chain.declared)
        return ChangingFeed(settings, self, chain) if not chain.attempts else Feed(settings)


def measure(name: str, world: int, moments: Sequence[str] = tuple(MOMENTS)) -> list[dict[str, Any]]:
    """Change a run's mixture as `name` says, killed at each moment, at a number of workers: a row for each."""
    use_forkserver(ROOT)
    chains = [MixChain("", STAGE, (world, world), (MOMENTS[m],), change=name, moment=m) for m in moments]
    with tempfile.TemporaryDirectory(prefix="headrace-matrix-") as folder, connect(ClusterConfig()):
        bench = MixBench(Path(folder))
        bench.grow(mixed().first)
        bench.attempts(chains, 0)
        for chain in [chain for chain in chains if chain.moment == "before" and not chain.trouble]:
            chain.typed(bench)
        bench.attempts(chains, 1)
        quiet = {(chain.worlds[0], at): chain for chain in chains if (at := changed_at(bench, chain)) is not None}
        twins = {key: MixChain("", STAGE, key[:1], (), change=name, declared=key[1]) for key in quiet}
        bench.attempts(list(twins.values()), 0)
        return [row(bench, chain, twins) for chain in chains]


def changed_at(bench: Bench, chain: MixChain) -> int | None:
    """The first round that was cut by the changed mixture."""
    return next((m.round for m in bench.manifests(chain) if m.mix is not None and m.mix.version == 1), None)


def row(bench: Bench, chain: MixChain, twins: dict[tuple[int, int], MixChain]) -> dict[str, Any]:
    """One line of the result: what was trained against the run that was never killed, its weights and its ledger."""
    world, at = chain.worlds[0], changed_at(bench, chain)
    line: dict[str, Any] = {"change": chain.change, "workers": world, "killed": chain.moment, "changed_round": at}
    twin = twins.get((world, at)) if at is not None else None
    trouble = chain.trouble or (twin.trouble if twin else "the change never was in force")
    if trouble or twin is None or at is None:
        return {**line, "cells": {chain.moment: "failed"}, "ok": False, "trouble": trouble}
    assert bench.opened is not None
    manifests, audit = bench.manifests(chain), account(bench.opened.lake, chain.run)
    first = sum(m.steps for m in manifests[:at])
    place = "before" if chain.kills[0] <= first else "in" if chain.kills[0] <= first + manifests[at].steps else "after"
    difference = compare(consumed(chain.attempts), consumed(twin.attempts), frozenset())
    mine, theirs = bench.weights(chain), bench.weights(twin)
    apart = max(float((mine[k] - theirs[k]).abs().max()) for k in theirs)
    same_rounds = [m.to_row() for m in manifests] == [m.to_row() for m in bench.manifests(twin)]
    clean = audit.ok and (audit.pending == 0 or chain.change == "pause")
    return {
        **line,
        "cells": {chain.moment: str(difference)},
        "weights_apart": apart,
        "rounds": len(manifests),
        "steps": len(consumed(twin.attempts)),
        "start": chain.attempts[1].start,
        "shares": {"before": shares_of(manifests[:at]), "after": shares_of(manifests[at : at + 2])},
        "both_from_the_first": len(CHANGES[chain.change][0]) == 1 or both_in(manifests[:at]),
        "ledger": audit.to_dict(),
        "ok": difference.exact and apart == 0 and same_rounds and clean and place == chain.moment,
    }


def shares_of(manifests: Sequence[Manifest]) -> dict[str, float]:
    """Which share of the fresh tokens each source had."""
    tokens = dict.fromkeys(SIZES, 0)
    for mix in [m.mix for m in manifests if m.mix is not None]:
        tokens |= {label: tokens[label] + count for label, count in mix.tokens.items()}
    return {label: round(count / max(1, sum(tokens.values())), 4) for label, count in tokens.items()}


def both_in(manifests: Sequence[Manifest]) -> bool:
    """Is there text of every source in every one of these rounds?"""
    return all(m.mix is not None and set(m.mix.tokens) == set(SIZES) for m in manifests)
