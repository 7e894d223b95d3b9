"""What is written down of a round before it is trained?"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from data_ops.documents.place import Documents, Place
from data_ops.rounds.config import RoundConfig
from data_ops.sampling.config import ReservoirConfig


@dataclass(frozen=True)
class Manifest:
    """What one round trains on, written down before its first step."""

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

    @property
    def documents(self) -> Documents:
        """Fresh and replayed documents in the order in which they are packed."""
        return self.fresh.join(self.replay)

    def to_row(self) -> dict[str, Any]:
        """The lake's row, without run and round."""
        lists = {"fresh": self.fresh, "replay": self.replay, "shed": self.shed}
        plan = {k: v for k, v in asdict(self).items() if k not in lists}
        return {"plan": json.dumps(plan), **{k: v.to_arrow() for k, v in lists.items()}}

    @staticmethod
    def from_row(rows: pa.Table, index: int) -> "Manifest":
        """Read row `index` of the lake's `rounds` table."""
        plan = json.loads(rows["plan"][index].as_py())
        plan["start"], plan["end"] = Place(*plan["start"]), Place(*plan["end"])
        plan |= {k: Documents.from_arrow(rows[k][index].values) for k in ("fresh", "replay", "shed")}
        return Manifest(**plan)


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
