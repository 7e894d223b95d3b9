"""What does each part of the report say, and when does it say nothing?

One function a section: plain data in, markup out. A chart that would be empty or flat is replaced by one
line that says so. The charts themselves know nothing of runs.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median

from cluster.readable import is_number, many, seconds, share, short, whole
from ray_jobs.evaluation.decision import DecisionRow, SliceRow
from ray_jobs.report.charts import comparisons
from ray_jobs.report.charts import lines as charts
from ray_jobs.report.charts.section import figure, none, section
from ray_jobs.report.charts.svg import Html, tag
from ray_jobs.report.charts.timeline import Moment, timeline
from ray_jobs.report.data import Ages, Summary, Unreadable, WindowRow

MAX_SAMPLES = 12
EVENTS = {"promote": "judgement", "skip": "skipped step"}


def judgement(decision: DecisionRow | None) -> Html:
    """Tell how each slice changed against the champion, and the reasons of the verdict."""
    if not decision:
        return section("The judgement", None, none("No candidate was judged in this run."))
    slices = [s for s in decision.get("slices", []) if is_number(s["difference"])]
    fresh = [s for s in slices if s["role"] == "fresh"]
    old = sorted(
        (s for s in slices if s["role"] != "fresh"),
        key=lambda s: (s["role"] != "pool", -(s["high"] if s["high"] is not None else 1e9)),
    )
    shown = (fresh[:12] + old)[:30]
    sure = f"level {decision['level']:.2g}" if "level" in decision else f"{share(decision['confidence'])}"
    unit = next((s.get("unit", "bits/byte") for s in shown), "bits/byte").replace("/", " per ")
    lead = (
        f"Difference to {decision.get('against', 'the champion')} in {unit} on the same documents, with bounds "
        f"({sure}). Fresh text has to lie left of zero, old text of every source left of the margin."
    )
    margin = max([limit_of(s, decision) for s in old], default=0.0)
    reasons = tag("ul", *(tag("li", reason) for reason in decision.get("reasons", [])), class_="reasons")
    chart = figure(comparisons.forest(shown, margin, label="difference per slice")) if shown else None
    more = none(f"{len(slices) - len(shown)} more slices, none worse than these.") if len(slices) > len(shown) else None
    return section("The judgement", lead, reasons, chart, more)


def pools(decision: DecisionRow) -> list[SliceRow]:
    """What old text was judged by: pools of sources; in a decision of an older version, slices."""
    found = decision.get("slices", [])
    return [s for s in found if s["role"] == "pool"] or [s for s in found if s["role"] == "old"]


def limit_of(judged: SliceRow, decision: DecisionRow) -> float:
    """How much worse it might have become, in bits per byte."""
    return judged["limit"] if "limit" in judged else decision["old_margin"]


def diet(ages: Ages) -> Html:
    """Tell how old the text was that was trained, against the ideal decay, fresh and replayed, by source."""
    title = "What it was fed"
    counted = {"replay": ages.get("replay"), "fresh": ages.get("fresh")}
    stacks = {kind: [v if is_number(v) else 0 for v in values or []] for kind, values in counted.items()}
    edges = ages.get("edges_days") or []
    if not edges or not any(sum(stack) for stack in stacks.values()):
        return section(title, None, none("No ages of trained text were recorded."))
    stacks = {kind: stack or [0] * (len(edges) - 1) for kind, stack in stacks.items()}
    unit, decay = ages.get("unit", "documents"), ages.get("ideal") or {}
    ideal = decay if isinstance(decay, Mapping) else {"exact decay": decay}
    total = sum(map(sum, stacks.values()))
    key = tag(
        "span",
        _swatch("blue"),
        " fresh  ",
        _swatch("orange"),
        " replay",
        "  — " if ideal else "",
        ", ".join(f"ideal replay, {name}" for name in ideal),
    )
    time_unit, in_days = _time_unit(edges[-1])
    scaled = [edge / in_days for edge in edges]
    chart = comparisons.age_bars(scaled, stacks, ideal, (time_unit, unit), label="age of trained text")
    fresh, replay = sum(stacks["fresh"]), sum(stacks["replay"])
    lead = f"{short(fresh)} fresh and {short(replay)} replayed {unit} ({share(replay / total)}), by event time."
    sources = ages.get("sources") or {}
    shown = sorted(sources, key=lambda name: -sum(sources[name].get(kind) or 0 for kind in stacks))[:8]
    left = tag("figure", tag("h3", "Age ", key), chart)
    if not shown:
        return section(title, lead, left)
    parts = {kind: [sources[name].get(kind) or 0 for name in shown] for kind in stacks}
    right = figure(comparisons.stacked_bars(shown, parts, label="trained by source"), "Sources", unit)
    return section(title, lead, tag("div", left, right, class_="row split"))


def funnel(summary: Summary, windows: Sequence[WindowRow], quarantine: Sequence[Unreadable]) -> Html:
    """Tell what became of every document that was read, and show samples of what could not be read."""
    title, counts = "From read to trained", summary.get("documents") or _summed(windows)
    num_read, dropped, shed = (counts.get(name) or 0 for name in ("read", "dropped", "shed"))
    if not is_number(num_read) or not num_read:
        return section(title, None, none("Nothing was read."))
    dropped = dropped if isinstance(dropped, Mapping) else {"dropped": dropped}
    steps: list[tuple[str, float, str]] = [("read", num_read, "total")]
    reasons = sorted(((n, reason) for reason, n in dropped.items() if n), reverse=True)
    steps += [(reason.replace("_", " "), n, "loss") for n, reason in reasons[:10]]
    if rest := sum(n for n, _ in reasons[10:]):
        steps.append((f"{len(reasons) - 10} more reasons", rest, "loss"))
    losses = (
        ("quarantined", counts.get("quarantined"), "loss-bad"),
        ("held out to judge", counts.get("held_out"), "loss-kept"),
        ("shed", sum(shed.values()) if isinstance(shed, Mapping) else shed, "loss"),
        ("pending", counts.get("pending"), "loss"),
    )
    steps += [(name, n, kind) for name, n, kind in losses if is_number(n) and n]
    steps += [("trained", n, "rest")] if is_number(n := counts.get("trained")) else []
    took = [duration for w in windows if is_number(duration := w.get("seconds"))]
    lead = f"{many(len(windows), 'window')}, {seconds(median(took))} each (median)." if took else None
    return section(
        title,
        lead,
        figure(
            comparisons.waterfall(steps, label="documents from read to trained"),
            "Documents",
            "each loss with its reason",
        ),
        _samples(quarantine),
    )


def _summed(windows: Sequence[WindowRow]) -> dict[str, int | dict[str, int]]:
    """What became of the records of these windows together."""
    if not windows:
        return {}
    dropped = sum((Counter(w.get("dropped") or {}) for w in windows), Counter[str]())
    return {
        "read": sum(w.get("read") or 0 for w in windows),
        "held_out": sum(w.get("held_out") or 0 for w in windows),
        "quarantined": sum(w.get("quarantined") or 0 for w in windows),
        "dropped": dict(dropped),
    }


def freshness(values: Sequence[float]) -> Html:
    """Tell how long a document waits from its arrival to the first gradient."""
    found = sorted(v for v in values if is_number(v) and v >= 0)
    title = "How fresh"
    if not found:
        return section(title, None, none("No freshness was recorded."))
    p50, p95 = (found[min(int(q * len(found)), len(found) - 1)] for q in (0.5, 0.95))
    within = f"half within {seconds(p50)}, 95 % within {seconds(p95)}, all within {seconds(found[-1])}"
    lead = f"From arrival to the first gradient: {within}."
    if len(found) < 5 or found[-1] <= found[0] * 1.05:
        return section(title, lead)
    marks = [(p50, f"p50 {seconds(p50)}"), (p95, f"p95 {seconds(p95)}")]
    return section(
        title,
        lead,
        figure(
            charts.log_histogram(found, seconds, marks, label="freshness"),
            "Documents",
            f"by waiting time; {whole(len(found))} measured",
        ),
    )


def faults(events: Sequence[Moment]) -> Html:
    """Tell when it started, stopped, went on and was promoted."""
    title, counts = "On the time line", Counter(event.kind for event in events)
    said = ", ".join(f"{n} {EVENTS.get(kind, kind)}{'s' if n != 1 else ''}" for kind, n in counts.most_common())
    lead = f"{said}." if counts["fault"] else f"No fault. {said}."
    if not events or set(counts) <= {"start"}:
        return section(
            title,
            None,
            none("One start, no fault, nothing else to tell." if events else "No events were recorded."),
        )
    return section(title, lead, figure(timeline(_few_checkpoints(events), label="events of the run")))


def setting(config: Mapping[str, object], versions: Mapping[str, object], summary: Summary) -> Html:
    """Tell with what it was made: configuration, versions, fingerprints."""
    names = ("sample_fingerprint", "weights_sha256", "checkpoint", "resumed_from")
    prints = {name: value for name, value in summary.items() if name in names and value is not None}
    parts: list[Html] = []
    for name, values in (("Configuration", config), ("Versions", versions), ("Fingerprints", prints)):
        flat = _flatten(values)
        keys = (tag("div", tag("dt", key), tag("dd", value)) for key, value in flat)
        parts += (
            [tag("h3", name), tag("dl", *keys, class_="keys" if name != "Fingerprints" else "keys long")]
            if flat
            else []
        )
    return section("Made with", None, *(parts or [none("No configuration was recorded.")]))


def _samples(quarantine: Sequence[Unreadable]) -> Html | None:
    if not quarantine:
        return None
    rows = [
        tag(
            "tr",
            tag("td", q.get("place", ""), class_="code"),
            tag("td", q.get("reason", "")),
            tag("td", str(q.get("sample", ""))[:200], class_="code", dir="auto"),
        )
        for q in quarantine[:MAX_SAMPLES]
    ]
    more = f"{MAX_SAMPLES} of {whole(len(quarantine))}" if len(quarantine) > MAX_SAMPLES else whole(len(quarantine))
    head = tag("tr", tag("th", "where"), tag("th", "why"), tag("th", "what stood there"))
    return tag(
        "figure",
        tag("h3", "Quarantine ", tag("span", f"{more} samples, kept in the lake with their place")),
        tag("table", head, *rows),
    )


def _time_unit(longest_days: float) -> tuple[str, float]:
    """Return the unit that suits ages up to so many days, and how many days it has."""
    units = (("years", 365.25), ("months", 30.44), ("days", 1.0), ("hours", 1 / 24), ("minutes", 1 / 1440))
    return next(((name, days) for name, days in units if longest_days >= 2 * days), units[-1])


def _swatch(colour: str) -> Html:
    return tag("i", class_=f"swatch b-{colour}")


def _few_checkpoints(events: Sequence[Moment]) -> list[Moment]:
    checkpoints = [event for event in events if event.kind == "checkpoint"]
    stride = max(1, len(checkpoints) // 400)
    return [event for event in events if event.kind != "checkpoint"] + checkpoints[::stride]


def _flatten(values: object, prefix: str = "") -> list[tuple[str, str]]:
    if isinstance(values, Mapping):
        return [
            item for key, value in values.items() for item in _flatten(value, f"{prefix}.{key}" if prefix else str(key))
        ]
    return [(prefix, "none" if values is None else str(values))]
