"""How fresh is what a run trains on and puts in service, source by source?

a document's own time -> the lake -> its first gradient -> the champion that has seen it
"""

import math
from collections.abc import Iterable, Mapping
from typing import TypedDict

import msgspec
import numpy as np

from cluster.readable import seconds
from ray_jobs.config.blocks import SloConfig
from ray_jobs.report.charts.section import section
from ray_jobs.report.charts.svg import Html, tag
from ray_jobs.training.events import CandidateJudged, Event, StepDone

Chain = dict[str, dict[str, dict[str, float]]]  # source -> stage -> p50 and p95 in seconds
STAGES = {"to_lake": "lake", "to_gradient": "gradient", "to_champion": "champion"}


def chain_of(events: Iterable[Event]) -> Chain:
    """Return the median and the 95 % quantile of the seconds from a document's own time to each stage."""
    values: dict[str, dict[str, list[float]]] = {}
    for event in events:
        for stage in STAGES:
            found = getattr(event, f"{stage}_s", None) if isinstance(event, StepDone | CandidateJudged) else None
            for source, given in (found or {}).items():
                values.setdefault(source, {}).setdefault(stage, []).extend(given)
    return {
        source: {stage: _quantiles(given) for stage, given in stages.items() if given}
        for source, stages in sorted(values.items())
    }


def _quantiles(given: list[float]) -> dict[str, float]:
    p50, p95 = np.quantile(given, [0.5, 0.95]).tolist()
    return {"p50": p50, "p95": p95}


def sentences(chain: Mapping[str, Mapping[str, Mapping[str, float]]], most_s: float = math.inf) -> list[str]:
    """Tell the chain of each source in a line, without stages that took longer than `most_s`.

    >>> sentences({"wire": {"to_lake": {"p50": 1.0, "p95": 2.0}, "to_gradient": {"p50": 3.0, "p95": 9.0}}})
    ['wire: event to lake 2 s, to gradient 9 s (95 % within)']
    """
    lines = []
    for source, stages in chain.items():
        within = {stage: stages[stage]["p95"] for stage in STAGES if stage in stages and stages[stage]["p95"] < most_s}
        told = [f"to {STAGES[stage]} {seconds(p95)}" for stage, p95 in within.items()]
        lines += [f"{source}: event {', '.join(told)} (95 % within)"] if told else []
    return lines


class Objectives(msgspec.Struct):
    """Of a configuration as it is kept: within how many seconds text is to be trained, and which share may not."""

    freshness: float | dict[str, float] | None = None
    late: float = 0.01


class KeptObjectives(msgspec.Struct):
    """The part of a kept configuration that holds them."""

    slo: Objectives = msgspec.field(default_factory=Objectives)

    def within_s(self, label: str) -> float | None:
        """Return the seconds that a source's text may take; None: no objective is set for it."""
        wanted = self.slo.freshness
        return wanted.get(label) if isinstance(wanted, dict) else wanted


def objectives_of(slo: SloConfig) -> KeptObjectives:
    """Return the objectives of a configuration that is not kept yet."""
    return KeptObjectives(Objectives(slo.freshness, slo.late))


class KeptShare(TypedDict):
    """How an objective is kept; share: of the text, wanted: at least so much of it."""

    within_s: float
    share: float
    wanted: float


def kept_objectives(events: Iterable[Event], wanted: KeptObjectives) -> dict[str, KeptShare]:
    """Tell which share of each source's text was trained in time, by the quantiles of a step with many documents."""
    counts: dict[str, list[int]] = {}
    for event in events:
        for label, seconds_ in (event.to_gradient_s if isinstance(event, StepDone) else {}).items():
            if (within := wanted.within_s(label)) is not None:
                total, late = counts.setdefault(label, [0, 0])
                counts[label] = [total + len(seconds_), late + sum(each > within for each in seconds_)]
    return {
        label: {"within_s": wanted.within_s(label) or 0.0, "share": 1 - late / total, "wanted": 1 - wanted.slo.late}
        for label, (total, late) in sorted(counts.items())
        if total
    }


def objective_sentences(kept: Mapping[str, KeptShare]) -> list[str]:
    """Tell how the objective of each source is kept, in a line.

    >>> objective_sentences({"wire": {"within_s": 600, "share": 0.984, "wanted": 0.99}})
    ['wire: 98.4 % of the text was trained within 10 min of its event, less than the 99 % that slo.late asks']
    """
    lines = []
    for label, each in kept.items():
        within, asked = seconds(each["within_s"]), f"the {100 * each['wanted']:.4g} % that slo.late asks"
        how = "as" if each["share"] >= each["wanted"] else "less than"
        told = f"{100 * each['share']:.1f} % of the text was trained within {within} of its event"
        lines.append(f"{label}: {told}, {how} {asked}")
    return lines


def chain_section(chain: Chain, kept: Mapping[str, KeptShare] | None = None) -> Html | None:
    """Show the chain as a table; nothing where no source told a time."""
    if not chain:
        return None
    head = tag("tr", *(tag("th", text) for text in ("source", *(f"to the {name}" for name in STAGES.values()))))
    rows = [
        tag("tr", tag("td", source), *(tag("td", _cell(stages.get(stage))) for stage in STAGES))
        for source, stages in chain.items()
    ]
    lead = "From a document's own time (the record's, or its file's): half within, 95 % within."
    told = [tag("p", line) for line in objective_sentences(kept or {})]
    return section("From the event to the champion", lead, tag("table", head, *rows), *told)


def _cell(found: Mapping[str, float] | None) -> str:
    return f"{seconds(found['p50'])}, {seconds(found['p95'])}" if found else "–"
