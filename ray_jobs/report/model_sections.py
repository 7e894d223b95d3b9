"""What does the report say of the model: what it knows of each period, and how it learned?

Ranges follow the settled part of a curve: the first steps of an untrained model would press everything else
flat.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median

from cluster.readable import is_number, rate, short
from ray_jobs.report.charts import lines as charts
from ray_jobs.report.charts.heatmap import heat_map
from ray_jobs.report.charts.lines import Band, Curve, Frame
from ray_jobs.report.charts.section import figure, none, section
from ray_jobs.report.charts.svg import Html, tag
from ray_jobs.report.data import Evaluation

MAX_SLICES, MAX_ROWS = 60, 40


def knowledge(evaluations: Sequence[Evaluation], measure: str) -> Html:
    """Tell what each checkpoint knows of each period. measure: what its figures are called."""
    unit = measure.replace("/", " per ")
    title = "What it knows"
    names = _slice_names(evaluations)
    if len(evaluations) < 2 or not names:
        if not names:
            return section(title, None, none("No held-out text was evaluated."))
        return section(title, f"One evaluation, in {unit}; lower is better.", _table(evaluations[0], names))
    kept = _evenly(list(evaluations), MAX_ROWS)
    values = [[_bits(e, name) for name in names] for e in kept]
    rows = ["untrained" if e is evaluations[0] else f"round {e.get('round')}" for e in kept]
    lead = (
        f"{unit.capitalize()} on held-out text, lower is better. Bright: as good as that slice ever was; "
        "dark: not learned yet, or forgotten."
    )
    chart = figure(
        heat_map(rows, names, values, label=f"{unit}, checkpoint by slice", unit=measure),
        unit.capitalize(),
        "checkpoint × period",
    )
    curve = _curves(evaluations, names, unit)
    if len(names) <= 10:
        return section(title, lead, tag("div", chart, curve, class_="row two"))
    return section(title, lead, chart, curve)


def training(metrics: Sequence[Mapping[str, object]]) -> Html:
    """Tell how it learned: loss, learning rate, speed and waiting over steps, with rounds as bands."""
    title, bands = "How it learned", _bands(metrics)
    points = _series(metrics, "loss")
    if len(points) < 2:
        return section(title, None, none("Too few steps for a curve."))
    smooth = _smooth(points, max(3, len(points) // 100))
    loss = charts.lines(
        [Curve(points, "blue", "", "faint"), Curve(smooth, "blue")] if len(points) > 20 else [Curve(points, "blue")],
        "{:.2f}".format,
        Frame(1080, 280, bands, _settled(points)),
        label="training loss",
    )
    small, flat = [], []
    for key, name, unit, write in (
        ("learning_rate", "Learning rate", "", rate),
        ("tokens_per_second", "Speed", "tokens/s", short),
        ("data_wait_share", "Data wait", "share of a step", _percent),
        ("grad_norm", "Gradient norm", "", short),
    ):
        found = _series(metrics, key)
        if len(found) < 2 or max(y for _, y in found) - min(y for _, y in found) <= 1e-9 * abs(found[0][1]):
            flat.append(f"{name.lower()} {write(found[0][1])} throughout" if found else f"{name.lower()} not recorded")
            continue
        calm = found if key == "learning_rate" else _smooth(found, max(1, len(found) // 200))
        top = _settled(calm) if key == "grad_norm" else None
        top = (0.0, max(y for _, y in calm) * 1.1) if key in ("tokens_per_second", "data_wait_share") else top
        small.append(
            figure(
                charts.lines([Curve(calm, "green")], write, Frame(530, 190, bands, top), label=name),
                name,
                unit,
            )
        )
    said = none(f"Without a chart: {', '.join(flat)}.") if flat else None
    return section(
        title,
        _rounds_lead(bands),
        figure(loss, "Loss", "nats per token; faint: each step" if len(points) > 20 else "nats per token"),
        tag("div", *small, class_="row two"),
        said,
    )


def _curves(evaluations: Sequence[Evaluation], names: Sequence[str], unit: str) -> Html | None:
    """Draw the curve of each slice, older periods darker, in the range that the last four fifths need."""
    settled = evaluations[-(-len(evaluations) // 5) :]
    shown = [v for e in settled for n in names if (v := _bits(e, n)) is not None]
    first = [v for n in names if (v := _bits(evaluations[0], n)) is not None]
    if len(evaluations) < 3 or not shown:
        return None
    pad = 0.04 * (max(shown) - min(shown)) or 0.1
    y_range = (min(shown) - pad, max(shown) + pad)
    above = f"; untrained {min(first):.2f} to {max(first):.2f}" if first and min(first) > y_range[1] else ""
    periods = sorted({name.partition("/")[2] for name in names})
    curves = []
    for name in names:
        points = [(float(e["step"]), v) for e in evaluations if (v := _bits(e, name)) is not None]
        rank = periods.index(name.partition("/")[2]) / max(len(periods) - 1, 1)
        curves.append(Curve(points, f"s{round(rank * 6)}", name if len(names) <= 16 else ""))
    width, height = (1080.0, 320.0) if len(names) > 10 else (540.0, 330.0)
    label = f"{unit} of each slice"
    chart = charts.lines(curves, "{:.2f}".format, Frame(width, height, (), y_range), label=label)
    return figure(chart, "Each slice", f"older periods darker{above}")


def _bits(evaluation: Evaluation, name: str) -> float | None:
    value = ((evaluation.get("slices") or {}).get(name) or {}).get("bits_per_byte")
    return float(value) if is_number(value) else None


def _slice_names(evaluations: Sequence[Evaluation]) -> list[str]:
    names = sorted({n for e in evaluations for n in e.get("slices") or {} if _bits(e, n) is not None})
    if len(names) <= MAX_SLICES:
        return names
    weight = Counter({n: max((e["slices"].get(n) or {}).get("bytes") or 0 for e in evaluations) for n in names})
    return sorted(name for name, _ in weight.most_common(MAX_SLICES))


def _table(evaluation: Evaluation, names: Sequence[str]) -> Html:
    """Return one evaluation as a table: a row a period, a column a source."""
    sources = sorted({name.partition("/")[0] for name in names})
    periods = sorted({name.partition("/")[2] for name in names})
    rows = []
    for period in periods:
        values = [_bits(evaluation, f"{source}/{period}" if period else source) for source in sources]
        rows.append(tag("tr", tag("td", period), *(tag("td", "–" if v is None else f"{v:.3f}") for v in values)))
    return tag("figure", tag("table", tag("tr", tag("th", "period"), *(tag("th", s) for s in sources)), *rows))


def _series(metrics: Sequence[Mapping[str, object]], key: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for m in metrics if is_number(y := m.get(key)) and is_number(x := m.get("step"))]


def _smooth(points: Sequence[tuple[float, float]], reach: int) -> list[tuple[float, float]]:
    """Return the running median over 2 reach + 1 points, at no more than about 600 places."""
    stride = max(1, len(points) // 600)
    return [
        (points[i][0], median(y for _, y in points[max(0, i - reach) : i + reach + 1]))
        for i in range(0, len(points), stride)
    ]


def _settled(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return a range that shows all after the first tenth but the highest 0.5 %, unless these are near."""
    ordered = sorted(y for _, y in (points[len(points) // 10 :] if len(points) >= 20 else points))
    low, high = ordered[0], ordered[min(int(0.995 * len(ordered)), len(ordered) - 1)]
    high = ordered[-1] if ordered[-1] <= high + (high - low) else high
    pad = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return (max(low - pad, 0.0) if low >= 0 else low - pad), high + pad


def _bands(metrics: Sequence[Mapping[str, object]]) -> list[Band]:
    ends: dict[object, list[float]] = {}
    for m in metrics:
        if is_number(step := m.get("step")) and m.get("round") is not None:
            ends.setdefault(m["round"], []).append(float(step))
    first = {name: min(steps) for name, steps in ends.items()}
    order = sorted(first, key=lambda name: first[name])
    last = [first[name] for name in order[1:]] + [max(max(steps) for steps in ends.values())] if ends else []
    return [Band(first[name], end, f"round {name}") for name, end in zip(order, last, strict=True)]


def _rounds_lead(bands: Sequence[Band]) -> str:
    return f"Bands are rounds ({len(bands)})." if len(bands) > 1 else "One round."


def _evenly(items: list[Evaluation], most: int) -> list[Evaluation]:
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _percent(value: float) -> str:
    return f"{value * 100:.3g} %"
