"""What has a sweep shown, told to a person in one HTML file?

The best configuration and by how much, the table, learning curves, which settings mattered, batch against rate, and
what the batch size may be. Like a run's report it needs no network and no script.
"""

from collections.abc import Mapping, Sequence

from cluster.readable import many, seconds, share, short
from cluster.redaction import redact
from cluster.storage.store import Store
from ray_jobs.config.schema import Config
from ray_jobs.report.charts import lines as charts
from ray_jobs.report.charts.lines import Curve, Frame
from ray_jobs.report.charts.section import figure, none, section
from ray_jobs.report.charts.svg import Html, tag
from ray_jobs.report.charts.trials import batch_and_rate, parallel, written
from ray_jobs.report.page import page
from ray_jobs.report.sections import setting
from ray_jobs.sweep.result import SweepSummary, TrialResult
from ray_jobs.sweep.trial.job import SweepJob

MOST_CURVES, MOST_ROWS = 60, 100


def write_report(
    store: Store, config: Config, job: SweepJob, trials: Sequence[TrialResult], found: SweepSummary
) -> str:
    """Write runs/<sweep>/report.html; its place."""
    path = job.run_path("report.html")
    store.write(path, render_sweep(config, job, trials, found).encode())
    return f"{config.store}/{path}"


def render_sweep(config: Config, job: SweepJob, trials: Sequence[TrialResult], found: SweepSummary) -> str:
    """Return the report of ranked trials as one self-contained HTML document."""
    judged = [trial for trial in trials if trial.score is not None]
    parts = [
        _verdict(job, judged, trials, found),
        _curves(job, judged),
        _settings(judged),
        _batches(judged, found),
        _table(trials),
        setting(redact(config.model_dump(mode="json")), {}, {}),
    ]
    body = tag("body", tag("main", *parts))
    return page(f"{job.run} – headrace", body)


def _verdict(job: SweepJob, judged: Sequence[TrialResult], trials: Sequence[TrialResult], found: SweepSummary) -> Html:
    kicker = tag(
        "p", "Sweep ", tag("b", job.run.partition("@")[0]), f" · from {job.start or 'scratch'}", class_="kicker"
    )
    if not judged:
        return tag("header", kicker, tag("h1", "No trial was judged yet."))
    best = judged[0]
    rivals = [t for t in judged[1:] if t.last["tokens"] == best.last["tokens"]]
    lead = f", {(rivals[0].score or 0.0) - (best.score or 0.0):.4f} ahead of the next" if rivals else ""
    title = f"{brief(best.point)}: {best.last['score']:.4f} bits per byte{lead}."
    full = found["full_tokens"]
    tiles = (
        (f"{best.last['score']:.3f}", "bits per byte of averaged weights, best trial"),
        (short(found["tokens"]), f"tokens trained, {share(found['tokens'] / full)} of all trials in full"),
        (
            str(len(trials)),
            f"trials, {sum(t.state == 'finished' for t in trials)} to the end, in "
            f"{seconds(found['seconds'])} (the last start)",
        ),
    )
    return tag(
        "header",
        kicker,
        tag("h1", tag("span", class_="mark yes"), title),
        tag("div", *(tag("div", tag("b", value), tag("span", what)) for value, what in tiles), class_="tiles"),
    )


def _curves(job: SweepJob, judged: Sequence[TrialResult]) -> Html:
    title = "How they learned"
    if not judged:
        return section(title, None, none("No trial was judged yet."))
    shown = list(judged[:MOST_CURVES])
    verdicts = [
        Curve([(v["tokens"], v["score"]) for v in t.verdicts if v["score"] is not None], "grey", "", "thick")
        for t in shown[1:]
    ]
    own_bits = [(v["tokens"], v["score"]) for v in shown[0].verdicts if v["score"] is not None]
    first = Curve(own_bits, "blue", shown[0].key, "thick")
    loss = [Curve([(x, y) for v in t.verdicts for x, y in v["curve"]], "grey", "", "faint") for t in shown[1:]]
    loss = [line for line in loss if line.points]
    own = Curve([(x, y) for v in shown[0].verdicts for x, y in v["curve"]], "blue", shown[0].key)
    highest = sorted(y for line in [*loss, own] for _, y in line.points)
    settled = (highest[0] * 0.98, highest[int(len(highest) * 0.9)])
    return section(
        title,
        "Every trial saw the same rows in the same order. Blue: the best one. Compared at equal tokens.",
        figure(
            charts.lines([*verdicts, first], "{:.3f}".format, Frame(1080, x_name="tokens"), label="score by tokens"),
            "Held-out text",
            "bits per byte of averaged weights",
        ),
        figure(
            charts.lines(
                [*loss, own], "{:.2f}".format, Frame(1080, y_range=settled, x_name="tokens"), label="training loss"
            ),
            "Training loss",
            "nats a token",
        ),
    )


def _settings(judged: Sequence[TrialResult]) -> Html:
    title = "Which settings mattered"
    most = max((t.last["tokens"] for t in judged), default=0)
    axes = sorted({path for t in judged for path in t.point})
    if len(judged) < 3 or not axes:
        return section(title, None, none("Too few trials to compare settings."))
    names = {path: axis_name(path) for path in axes}
    shown = [{**{names[p]: _plain(t.point.get(p)) for p in axes}, "bits per byte": t.last["score"]} for t in judged]
    logs = {names[p] for p in axes if p.endswith((".lr", "_tokens", ".weight_decay"))}
    lead = "One line a trial, the best brightest. A trial that was stopped early shows the score it had then."
    chart = parallel(shown, [*names.values(), "bits per byte"], logs, label="settings and score of every trial")
    return section(title, lead, figure(chart), tag("p", f"Furthest mark: {most:,} tokens.", class_="none"))


def _batches(judged: Sequence[TrialResult], found: SweepSummary) -> Html:
    title = "Batch and rate"
    most = max((t.last["tokens"] for t in judged), default=0)
    cells: dict[tuple[int, float], float] = {}
    stopped: dict[tuple[int, float], int] = {}
    for t in judged:
        place, tokens, score = (t.batch_tokens, t.lr), t.last["tokens"], t.score
        if score is None:
            continue
        if tokens == most:
            cells[place] = min(cells.get(place, score), score)
        else:
            stopped[place] = max(stopped.get(place, 0), tokens)
    both_differ = len({x.batch_tokens for x in judged}) > 1 and len({x.lr for x in judged}) > 1
    if not both_differ or len(cells) + len(stopped) > 200:
        return section(title, None, none("Batch and rate did not both differ between trials."), _critical(found))
    chart = figure(
        batch_and_rate(cells, stopped, label="best score at each batch and rate"), "Best score", "batch × rate"
    )
    lead = f"The best score at each batch (tokens a step) and learning rate, of trials that trained {most:,} tokens."
    return section(title, lead, chart, _critical(found))


def _critical(found: SweepSummary) -> Html:
    batch, noise, said_of = found["critical_batch"], found["noise_scale_tokens"], []
    if batch:
        where = f"at least {batch['critical']:,}" if batch["is_bound"] else f"{batch['critical']:,}"
        if str(batch["critical"]) == min(batch["scores"], key=int) and batch["too_large"]:
            where = f"below {batch['too_large']:,}"  # the smallest was compared with none
        scores = ", ".join(f"{int(b):,}: {s:.4f}" for b, s in batch["scores"].items())
        said_of.append(
            f"The critical batch, the largest that loses no more than {share(batch['tolerance'])} at equal tokens, "
            f"is {where} tokens ({scores})."
        )
    if noise:
        said_of.append(f"The gradient noise scale of the best trial's weights is {short(noise)} tokens (a prior).")
    if found["proposed_batches"]:
        said_of.append(f"Batches to try next: {', '.join(f'{b:,}' for b in found['proposed_batches'])} tokens.")
    return tag("p", " ".join(said_of))


def _table(trials: Sequence[TrialResult]) -> Html:
    heads = ("", "trial", "bits/byte", "fresh", "old", "tokens", "settings", "state")
    rows = []
    for place, t in enumerate(trials[:MOST_ROWS], start=1):
        state = t.state + (f": {t.why}" if t.why else "")
        short_cells = (str(place), t.key, *t.figures())
        cells = [tag("td", cell, style="white-space:nowrap") for cell in short_cells]
        rows.append(tag("tr", *cells, tag("td", brief(t.point)), tag("td", state)))
    more = [none(f"and {many(len(trials) - MOST_ROWS, 'trial')} more")] if len(trials) > MOST_ROWS else []
    return section("All trials", None, tag("table", tag("tr", *(tag("th", h) for h in heads)), *rows), *more)


def brief(point: Mapping[str, object]) -> str:
    """A point in few words.

    >>> brief({"optim.lr": 0.004, "engine.batch_tokens": 4096, "optim.schedule.kind": "wsd"})
    'batch_tokens 4,096, lr 4.0e-3, schedule wsd'
    """
    return ", ".join(f"{axis_name(path)} {written(value)}" for path, value in sorted(point.items()))


def axis_name(path: str) -> str:
    """The last part of a key, and what a schedule's kind is called.

    >>> axis_name("optim.lr"), axis_name("optim.schedule.kind")
    ('lr', 'schedule')
    """
    *_, before, last = ["", *path.split(".")]
    return before if last == "kind" else last


def _plain(value: object) -> float | str:
    return value if isinstance(value, int | float | str) and not isinstance(value, bool) else str(value)
