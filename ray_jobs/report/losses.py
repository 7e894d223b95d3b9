"""What does each rule take out of each source, one after the other, and does its share change?

The figures and the table of them, for the report of a run and for the explorer alike. Both come from the lake alone.
"""

import math
from collections.abc import Callable, Sequence

import msgspec
import pyarrow as pa

from cluster.readable import share, size, visible, whole
from data_ops.curation.config import HISTORIES, RULES, CurateConfig
from data_ops.curation.reasons import meaning_of
from data_ops.survey.drift import Change, rates
from data_ops.survey.funnel import funnels
from ray_jobs.report.charts.section import section
from ray_jobs.report.charts.sparkline import sparkline
from ray_jobs.report.charts.svg import Html, joined, tag

HEAD: tuple[tuple[str, bool], ...] = (("reason", False), ("records in", True), ("taken out", True))
HEAD += (("share", True), ("text", True))
HEAD += (("over time", False), ("latest − before", False))
LEAD = (
    "In the order in which rules apply, each on what those before it left. Over time: the share of each block of "
    "windows; the latest quarter (shaded) against all before, with a 95 % interval of the difference over blocks."
)


class ChangeFigures(msgspec.Struct, frozen=True):
    """Share taken out in the latest blocks and before, and a 95 % interval of the difference."""

    latest: float
    before: float
    low: float
    high: float
    blocks: int  # how many are the latest
    is_change: bool  # whether the interval leaves zero out


class StageFigures(msgspec.Struct, frozen=True):
    """One reason in the funnel of a source. Bytes are of texts as they were decided; a quarantined record has none.

    shares: of each block of windows, None without records; change: None where there are too few blocks to compare.
    """

    source: str
    reason: str
    meaning: str
    fate: str
    records_in: int
    bytes_in: int
    records: int
    num_bytes: int
    shares: list[float | None]
    change: ChangeFigures | None


def reason_order(curate: CurateConfig | None) -> list[str]:
    """Reasons in the order in which they apply; None: no settings are known, so that of the house's list of rules."""
    rules, histories = (curate.chain, curate.remembered) if curate else (RULES, HISTORIES)
    return ["no_record", "tombstone", "empty", *rules, "forgotten", *histories]


def stage_figures(sums: pa.Table, blocks: pa.Table, num_blocks: int, order: Sequence[str]) -> list[StageFigures]:
    """The funnel of each source, stage by stage, each with its rate over time.

    sums, blocks: of a survey (`data_ops.survey.corpus`); sums may be the blocks themselves.
    """
    over_time = {(rate.source, rate.fate, rate.reason): rate for rate in rates(blocks, num_blocks)}
    found = []
    for funnel in funnels(sums, order):
        for stage in funnel.stages:
            rate = over_time[funnel.source, stage.fate, stage.reason]
            found.append(
                StageFigures(
                    source=visible(funnel.source),
                    reason=visible(stage.reason),
                    meaning=visible(meaning_of(stage.reason)),
                    fate=stage.fate,
                    records_in=stage.records_in,
                    bytes_in=stage.bytes_in,
                    records=stage.records,
                    num_bytes=stage.num_bytes,
                    shares=[None if math.isnan(value) else round(value, 6) for value in rate.shares],
                    change=_rounded(rate.change),
                )
            )
    return found


def _rounded(change: Change | None) -> ChangeFigures | None:
    if change is None:
        return None
    latest, before, low, high = (round(value, 6) for value in (change.latest, change.before, change.low, change.high))
    return ChangeFigures(latest, before, low, high, change.blocks, change.is_change)


def losses(stages: Sequence[StageFigures], named: Callable[[StageFigures], str | Html]) -> Html | None:
    """Tell it, a table a source; None where nothing was taken out. named: how a reason stands in its row."""
    if not stages:
        return None
    by_source: dict[str, list[StageFigures]] = {}
    for stage in stages:
        by_source.setdefault(stage.source, []).append(stage)
    return section(
        "What each rule takes out", LEAD, *(_table(source, each, named) for source, each in by_source.items())
    )


def plainly(stage: StageFigures) -> str:
    """A reason in words."""
    return stage.reason.replace("_", " ")


def _table(source: str, stages: Sequence[StageFigures], named: Callable[[StageFigures], str | Html]) -> Html:
    left = stages[-1].records_in - stages[-1].records
    told = f"{whole(stages[0].records_in)} records, {whole(left)} of them kept, held out or forgotten"
    head = tag("tr", *(tag("th", name, class_="number" if is_number else None) for name, is_number in HEAD))
    table = tag(
        "table", tag("thead", head), tag("tbody", *(_row(stage, named) for stage in stages)), class_="many sorted"
    )
    return tag("figure", tag("h3", source, " ", tag("span", told)), table)


def _row(stage: StageFigures, named: Callable[[StageFigures], str | Html]) -> Html:
    part = stage.records / max(stage.records_in, 1)
    return tag(
        "tr",
        tag("td", named(stage), tag("small", stage.meaning)),
        *(
            tag("td", shown, class_="number", data_value=f"{value:.9g}")
            for value, shown in (
                (stage.records_in, whole(stage.records_in)),
                (stage.records, whole(stage.records)),
                (part, share(part)),
                (stage.num_bytes, size(stage.num_bytes)),
            )
        ),
        tag("td", sparkline(stage.shares, stage.change.blocks if stage.change else 0), class_="over"),
        tag("td", _difference(stage.change), class_="change"),
    )


def _difference(change: ChangeFigures | None) -> Html:
    if change is None:
        return tag("span", "too few windows", class_="soft")
    mark = ("up" if change.low > 0 else "down") if change.is_change else "same"
    points = f"{100 * (change.latest - change.before):+.1f} points".replace("-", "−")
    between = f"{100 * change.low:+.1f} to {100 * change.high:+.1f}".replace("-", "−")
    return joined([tag("b", points, class_=mark), tag("small", between)])
