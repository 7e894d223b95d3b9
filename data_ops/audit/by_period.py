"""What became of the records of each source and period, and which of them are in some weights?

One pass over a few narrow columns of `documents`, a stretch of windows at a time, and one over the manifests
(marks.py): no text and no ids are held. The counts of `windows` are of whole windows: they cannot tell sources apart.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, TypedDict

import pyarrow as pa
import pyarrow.compute as pc

from data_ops.audit.account import PENDING, SHED, SKIPPED, TRAINED, Stand
from data_ops.audit.marks import RoundMarks, round_marks
from data_ops.documents.periods import PERIODS, Period
from data_ops.lake.lake import Lake

ROWS_AT_ONCE = 500_000
COLUMNS = ["window", "position", "source", "event_time", "fate", "reason", "num_tokens"]
GROUPED = ["source", "period", "fate", "reason", "state", "drawn"]
STATES = {PENDING: "pending", SHED: "shed", SKIPPED: "skipped", TRAINED: "trained"}


class GroupRow(TypedDict):
    """Rows of one kind: how many, and sums of their columns; draws: how often they were replayed."""

    source: str
    period: str | None
    fate: str
    reason: str | None
    state: int
    count_all: int
    num_tokens_sum: int
    draws_sum: int
    draw_tokens_sum: int
    drawn: bool
    event_time_min: datetime | None
    event_time_max: datetime | None


class TrainedRounds(NamedTuple):
    """Rounds of a run that are in some weights: those before `stand`, and so many steps of the round there."""

    run: str
    stand: Stand


@dataclass
class PeriodCounts:
    """The records of a source and period; read is the sum of all fates, kept ones are in one of four states.

    period: None where no time is known. Tokens are of texts that are still there, without their document tokens; a
    document that was replayed twice counts twice in `replayed`. Of a forgotten document only its place is left.
    """

    source: str
    period: str | None
    first: datetime | None = None  # event time of what was read
    last: datetime | None = None
    trained_first: datetime | None = None  # of what is in the weights, fresh or replayed, and not forgotten
    trained_last: datetime | None = None
    read: int = 0
    held_out: int = 0
    dropped: dict[str, int] = field(default_factory=dict)  # by reason
    quarantined: dict[str, int] = field(default_factory=dict)
    forgotten: int = 0
    forgotten_trained: int = 0  # of these, in the weights: fresh or replayed
    pending: int = 0
    shed: int = 0
    skipped: int = 0
    trained: int = 0
    trained_tokens: int = 0
    replayed: int = 0
    replayed_tokens: int = 0

    def add(self, other: "PeriodCounts") -> None:
        """Take the records of another one in."""
        for pick, names in ((min, ("first", "trained_first")), (max, ("last", "trained_last"))):
            for name in names:
                times = [time for time in (getattr(self, name), getattr(other, name)) if time is not None]
                setattr(self, name, pick(times, default=None))
        for name in NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for mine, theirs in ((self.dropped, other.dropped), (self.quarantined, other.quarantined)):
            for reason, count in theirs.items():
                mine[reason] = mine.get(reason, 0) + count


NUMBERS: tuple[str, ...] = (
    "read",
    "held_out",
    "forgotten",
    "forgotten_trained",
    "pending",
    "shed",
    "skipped",
    "trained",
)
NUMBERS += ("trained_tokens", "replayed", "replayed_tokens")


def total(counts: Iterable[PeriodCounts], source: str = "") -> PeriodCounts:
    """The sum of some counts, under one name."""
    found = PeriodCounts(source, None)
    for one in counts:
        found.add(one)
    return found


def counts_of_sources(counts: Iterable[PeriodCounts]) -> list[PeriodCounts]:
    """The same counts without their periods, in the order of the sources."""
    found: dict[str, PeriodCounts] = {}
    for one in counts:
        found.setdefault(one.source, PeriodCounts(one.source, None)).add(one)
    return list(found.values())


def by_source_and_period(
    lake: Lake, stretches: Iterable[TrainedRounds], period: Period = "month"
) -> list[PeriodCounts]:
    """Count every record of the committed windows, by source and period; stretches: the rounds in the weights.

    Periods are of event time (UTC). Raises DamagedError where a window or a round is not what was written.
    """
    last = lake.last_window()
    marks = round_marks(lake, {part.run: part.stand for part in stretches})
    found: dict[tuple[str, str], PeriodCounts] = {}
    for low, high in lake.stretches(0, last, ROWS_AT_ONCE):
        for group in _groups(lake.documents(low, high, COLUMNS), marks, period):
            one = _counts(group)
            found.setdefault((one.source, one.period or ""), PeriodCounts(one.source, one.period)).add(one)
    return [found[key] for key in sorted(found)]


def _groups(rows: pa.Table, marks: RoundMarks, period: Period) -> list[GroupRow]:
    """The rows of some windows as counts of each kind of them."""
    states, draws = marks.of(rows["window"].to_numpy(), rows["position"].to_numpy())
    drawn = pc.cast(draws, pa.int64())
    columns = {name: rows[name] for name in ("source", "fate", "reason", "event_time", "num_tokens")}
    columns |= {"period": pc.floor_temporal(rows["event_time"], unit=period), "state": states, "draws": drawn}
    columns |= {"draw_tokens": pc.multiply(rows["num_tokens"], drawn), "drawn": pc.greater(drawn, 0)}
    sums = [(name, "sum") for name in ("num_tokens", "draws", "draw_tokens")]
    times = [("event_time", "min"), ("event_time", "max")]
    found = pa.table(columns).group_by(GROUPED).aggregate([([], "count_all"), *sums, *times])
    named = pc.strftime(found["period"], format=PERIODS[period])
    told: list[GroupRow] = found.set_column(found.column_names.index("period"), "period", named).to_pylist()
    return told


def _counts(group: GroupRow) -> PeriodCounts:
    """One kind of rows as counts."""
    number, fate, reason = group["count_all"], group["fate"], group["reason"] or "no reason"
    times = group["event_time_min"], group["event_time_max"]
    found = PeriodCounts(group["source"], group["period"], *times, read=number)
    if fate in ("dropped", "quarantined"):
        getattr(found, fate)[reason] = number
    elif fate == "held_out":
        found.held_out = number
    elif fate == "forgotten":
        found.forgotten = number
        found.forgotten_trained = number if group["state"] == TRAINED or group["drawn"] else 0
    else:
        setattr(found, STATES[group["state"]], number)
        found.trained_tokens = group["num_tokens_sum"] if group["state"] == TRAINED else 0
        found.replayed, found.replayed_tokens = group["draws_sum"], group["draw_tokens_sum"]
        if group["state"] == TRAINED or group["drawn"]:
            found.trained_first, found.trained_last = found.first, found.last
    return found
