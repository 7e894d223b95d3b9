"""How fresh is what a run trains on and puts in service, source by source?

a document's own time -> the lake -> its first gradient -> the champion that has seen it
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np

from cluster.readable import seconds
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


def chain_section(chain: Chain) -> Html | None:
    """Show the chain as a table; nothing where no source told a time."""
    if not chain:
        return None
    head = tag("tr", *(tag("th", text) for text in ("source", *(f"to the {name}" for name in STAGES.values()))))
    rows = [
        tag("tr", tag("td", source), *(tag("td", _cell(stages.get(stage))) for stage in STAGES))
        for source, stages in chain.items()
    ]
    lead = "From a document's own time (the record's, or its file's): half within, 95 % within."
    return section("From the event to the champion", lead, tag("table", head, *rows))


def _cell(found: Mapping[str, float] | None) -> str:
    return f"{seconds(found['p50'])}, {seconds(found['p95'])}" if found else "–"
