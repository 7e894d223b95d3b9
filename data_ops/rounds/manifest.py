"""What is written down of a round before it is trained?"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from data_ops.documents.frontier import Frontier
from data_ops.documents.place import Documents, Place
from data_ops.lake.sealed_rows import RoundRow
from data_ops.mixing.config import MixtureConfig
from data_ops.mixing.mixed_cut import Before
from data_ops.rounds.config import RoundConfig
from data_ops.sampling.config import ReservoirConfig
from data_ops.steering.drift import Watch
from data_ops.steering.repeats import Entered, Known, Repeats

OF_MIXTURES = ("ahead", "end_ahead", "mix")  # not written where there is none, as older versions would refuse them


@dataclass(frozen=True)
class Mixed:
    """By which mixture a round was cut, and the figures that the next one is cut by."""

    version: int  # of the run's mixture
    window: int  # up to which the log was looked at
    trained: int  # positions of this round and of all before it, fresh and replayed
    shares: Mapping[str, float]  # stated for this round; {} where the order of documents decides
    tokens: Mapping[str, int]  # fresh positions of this round by source
    credits: Mapping[str, float]  # tokens that each source is owed behind this round
    dry: tuple[str, ...] = ()  # sources that had less than their share
    repeats: Repeats | None = None  # where replay has a limit
    watch: Watch | None = None  # where the sources' text is watched

    @property
    def trained_shares(self) -> dict[str, float]:
        """Which share of the round's fresh tokens each source had."""
        total = sum(self.tokens.values())
        return {label: count / total for label, count in self.tokens.items()} if total else {}


@dataclass(frozen=True)
class Manifest:
    """What one round trains on, written down before its first step.

    start, end: everything before them is planned, in every source, before and behind the round. ahead, end_ahead: the
    later places of the sources that are further; none where no mixture was ever in force. mix: None there too.
    """

    round: int
    start: Place
    end: Place
    seed: int
    steps: int
    batch_rows: int
    row_tokens: int
    closed: str  # tokens | drained | seconds | starved | branch
    fresh: Documents = field(repr=False)
    replay: Documents = field(repr=False)
    shed: Documents = field(repr=False)
    reservoir: str = ""  # fingerprint of the sample replay was drawn from
    ahead: Mapping[str, Place] = field(default_factory=dict)
    end_ahead: Mapping[str, Place] = field(default_factory=dict)
    mix: Mixed | None = None

    @property
    def begins(self) -> Frontier:
        """Where the run stands before the round, source by source."""
        return Frontier(self.start, self.ahead)

    @property
    def ends(self) -> Frontier:
        """Where it stands behind it."""
        return Frontier(self.end, self.end_ahead)

    @property
    def left(self) -> Before:
        """What the mixture of the next round goes on from; all of it unknown where this round had none."""
        mix = self.mix
        return Before() if mix is None else Before(mix.credits, mix.trained, mix.window, mix.repeats, mix.watch)

    @property
    def documents(self) -> Documents:
        """Fresh and replayed documents in the order in which they are packed."""
        return self.fresh.join(self.replay)

    def to_row(self) -> RoundRow:
        """The lake's row, without run and round."""
        lists = {"fresh": self.fresh, "replay": self.replay, "shed": self.shed}
        plan = {k: v for k, v in asdict(self).items() if k not in lists and (v or k not in OF_MIXTURES)}
        if self.mix is not None:  # a round without limits, and that watches nothing, is what it was in older versions
            plan["mix"] = {k: v for k, v in plan["mix"].items() if v is not None}
        fresh, replay, shed = (documents.to_arrow() for documents in lists.values())
        return {"plan": json.dumps(plan), "fresh": fresh, "replay": replay, "shed": shed}

    @staticmethod
    def from_row(rows: pa.Table, index: int) -> "Manifest":
        """Read row `index` of the lake's `rounds` table."""
        plan = json.loads(rows["plan"][index].as_py())
        plan["start"], plan["end"] = Place(*plan["start"]), Place(*plan["end"])
        for name in ("ahead", "end_ahead"):
            plan[name] = {label: Place(*place) for label, place in plan.get(name, {}).items()}
        if "mix" in plan:
            plan["mix"] = _mixed(plan["mix"])
        plan |= {k: Documents.from_arrow(rows[k][index].values) for k in ("fresh", "replay", "shed")}
        return Manifest(**plan)


def _mixed(plan: dict[str, Any]) -> Mixed:
    """Read what was JSON."""
    repeats = plan.get("repeats")
    if repeats is not None:
        known = {k: Known(v["most"], [Entered(*one) for one in v["entered"]]) for k, v in repeats["known"].items()}
        plan = {**plan, "repeats": Repeats(**{**repeats, "known": known})}
    if plan.get("watch") is not None:
        plan = {**plan, "watch": Watch.read(plan["watch"])}
    return Mixed(**{**plan, "dry": tuple(plan["dry"])})


class Shape(NamedTuple):
    """The shape of one optimizer step: rows of row_tokens positions, batch_rows of them."""

    row_tokens: int
    batch_rows: int


class Planning(NamedTuple):
    """What decides the rounds of a run, beside its documents."""

    rounds: RoundConfig
    reservoir: ReservoirConfig
    shape: Shape
    seed: int
    mixture: MixtureConfig | None = None  # as configured; in a run, `headrace mix` may have changed it since
