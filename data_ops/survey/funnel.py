"""What does each rule take out of a source, one after the other?

Records and bytes go in, some are dropped for the stage's reason, the rest goes on: what is left is kept or held out.
The order is the one that the caller names; what a rule would drop *alone* is not recorded, because no rule sees what
those before it dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class FunnelStage:
    """One reason at its place in the order. Bytes are of texts as they were when they were decided.

    fate: dropped or quarantined; a quarantined record has no bytes, because nobody could read it.
    """

    reason: str
    fate: str
    records_in: int
    bytes_in: int
    records: int
    num_bytes: int


@dataclass(frozen=True)
class Funnel:
    """What became of one source; what the last stage lets through is kept, held out, or was forgotten later."""

    source: str
    records: int
    num_bytes: int
    stages: list[FunnelStage]


def funnels(months: pa.Table, order: Sequence[str]) -> list[Funnel]:
    """One for each source, by name; months: `Corpus.months`, or sums with source, outcome, reason of the same kind.

    order: reasons in the order in which they apply. Quarantine comes first, then reasons that are not named, by name.
    """
    keys = ["source", "outcome", "reason"]
    sums = months.group_by(keys).aggregate([("records", "sum"), ("num_bytes", "sum")])
    place = {reason: number for number, reason in enumerate(order)}
    found = []
    for source in sorted(pc.unique(sums["source"]).to_pylist()):
        rows = sums.filter(pc.equal(sums["source"], source)).to_pylist()
        records, num_bytes = (sum(row[name] for row in rows) for name in ("records_sum", "num_bytes_sum"))
        losses = [row for row in rows if row["outcome"] in ("dropped", "quarantined")]
        losses.sort(key=lambda row: (row["outcome"] == "dropped", place.get(row["reason"], -1), row["reason"]))
        stages, left = [], (records, num_bytes)
        for row in losses:
            lost = row["records_sum"], row["num_bytes_sum"]
            stages.append(FunnelStage(row["reason"], row["outcome"], *left, *lost))
            left = left[0] - lost[0], left[1] - lost[1]
        found.append(Funnel(source, records, num_bytes, stages))
    return found
