"""What happened in this run, told to a person?

`render` makes one HTML file that needs nothing else: no network, no script, light and dark, fit for paper.
It reads from top to bottom like a story: the verdict, what the model knows, how it learned, what it read,
what was lost on the way and why, faults, configuration. A section without data is left out and said so in a
word. Text of documents is escaped wherever it stands, and values under keys that look secret are masked.
"""

import base64
import hashlib
from importlib.resources import files

from cluster.readable import is_number, many, noun, seconds, share, short, signed, whole
from cluster.redaction import redact
from ray_jobs.evaluation.decision import DecisionRow
from ray_jobs.report import model_sections as learning
from ray_jobs.report import sections
from ray_jobs.report.charts.svg import Html, joined, tag
from ray_jobs.report.charts.timeline import clock
from ray_jobs.report.data import ReportData, Summary
from ray_jobs.report.freshness import chain_section
from ray_jobs.report.losses import losses, plainly
from ray_jobs.report.task_section import task_section

FIRST = "no champion yet: "  # how the gate begins its reason where there was nothing to compare with
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
NO_MARKUP = "require-trusted-types-for 'script'; trusted-types 'none'"  # a script cannot write markup either


def page(title: str, body: Html, style: str = "", script: str = "") -> str:
    """Return a whole page that needs nothing from outside; style and script: of the house, beside those of the report.

    Only this very script may run, by its hash, and no other part of the page can become one.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = POLICY + (f"; script-src 'sha256-{digest}'; {NO_MARKUP}" if script else "")
    report_css = files("ray_jobs.report").joinpath("report.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'),
        Html(
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
            '<meta name="color-scheme" content="light dark">'
        ),
        tag("title", title),
        tag("style", Html(report_css + style)),
    )
    last = Html(f"<script>{script}</script>") if script else ""
    return f'<!doctype html>\n<html lang="en">{head}{body}{last}</html>\n'


def render_run(data: ReportData) -> str:
    """Return the report as one self-contained HTML document."""
    name = str(data.config.get("name") or data.summary.get("name") or "run")
    parts = [
        _verdict(data, name),
        sections.judgement(data.decision),
        task_section(data.decision, data.tasks),
        learning.knowledge(data.evaluations, data.summary.get("measure", "bits/byte")),
        learning.training(data.metrics),
        sections.diet(data.ages),
        sections.funnel(data.summary, data.windows, data.quarantine),
        losses(data.losses, plainly),
        sections.freshness(data.freshness_s),
        chain_section(data.summary.get("from_event_s") or {}, data.summary.get("slo")),
        sections.faults(data.events),
        sections.setting(redact(data.config), redact(data.versions), data.summary),
    ]
    said = "Every figure stands in metrics.jsonl, summary.json and the lake; headrace verify proves the counts."
    body = tag("body", tag("main", *parts, tag("footer", said)))
    return page(f"{name} – headrace", body)


def _verdict(data: ReportData, name: str) -> Html:
    moments = [e.time for e in data.events]
    moments += [at for m in [*data.metrics[:1], *data.metrics[-1:]] if is_number(at := m.get("time"))]
    when = f" · {clock(min(moments), '%d %B %Y, %H:%M')} UTC, {seconds(max(moments) - min(moments))}" if moments else ""
    kicker = tag("p", tag("b", "headrace"), " · ", tag("b", name), when, class_="kicker")
    cut_short = data.summary.get("state") in ("stopped", "running") and not data.decision
    told = data.decision or (data.summary if data.summary.get("reasons") and not cut_short else None)
    promoted = told.get("promoted") if told else None
    mark = tag("span", class_=f"mark {'yes' if promoted else 'no' if promoted is False else ''}".strip())
    tiles = tag("div", *(_tile(*tile) for tile in _tiles(data)), class_="tiles")
    return tag("header", kicker, tag("h1", mark, _sentence(data, promoted)), tiles, _facts(data.summary))


def _sentence(data: ReportData, promoted: bool | None) -> str:
    summary, decision = data.summary, data.decision or DecisionRow()
    who = f"Checkpoint {whole(summary['steps'])}" if is_number(summary.get("steps")) else "The candidate"
    tip = str(summary.get("checkpoint")).rpartition("/")[2]  # run/step; of a decay branch it is further on
    if tip.isdecimal() and is_number(summary.get("steps")) and int(tip) > summary["steps"]:
        who += f", decayed over {many(int(tip) - summary['steps'], 'more step')},"
    reasons = decision.get("reasons") or summary.get("reasons") or []
    if promoted is None:
        done = f"{many(summary.get('steps'), 'step')} in {many(summary.get('rounds'), 'round')}"
        match summary.get("state"):
            case "stopped":
                return f"Stopped by you at step {whole(summary.get('steps'))}; the same command goes on from there."
            case "running":
                return f"Running: {done} are committed; no candidate was judged yet."
        return f"{done}; no candidate was judged."
    if not promoted:
        why = [*reasons, "no reason was recorded"][0]
        asked = "was not judged yet" if judged_as(decision, summary) == "not asked" else "was not promoted"
        return f"{who} {asked}: {why}."
    fresh, old = decision.get("fresh"), sections.pools(decision)
    if not fresh or not old:
        why = str(reasons[0]) if reasons else "it was moved by hand"
        if why.startswith(FIRST):
            return f"{who} is the first champion: {why.removeprefix(FIRST).partition(', so it is')[0]}."
        return f"{who} is the new champion: {why}."
    margins = f"{decision['old_margin']:.1%}" if "verdict" in decision else f"{decision['old_margin']:g}"
    unit = fresh.get("unit", "bits/byte").replace("/", " per ")
    gain = f"fresh text costs {abs(fresh['difference'] or 0.0):.3f} {unit} less"
    return f"{who} is the new champion: {gain}, and old text stayed within {margins}."


def judged_as(decision: DecisionRow, summary: Summary) -> str:
    """Promoted, refused or not asked; a decision of an older version only says whether it promoted."""
    word = decision.get("verdict") or summary.get("verdict")
    return str(word or ("promoted" if decision.get("promoted") else "refused"))


def _tiles(data: ReportData) -> list[tuple[str, str, str]]:
    decision, summary = data.decision or DecisionRow(), data.summary
    tiles = []
    if fresh := decision.get("fresh"):
        sure = f"at least {signed(fresh['low'])}, at most {signed(fresh['high'])}"
        tiles.append(
            (
                signed(fresh["difference"]),
                fresh.get("unit", "bits/byte"),
                f"on fresh text, {whole(fresh['documents'])} held-out documents; {sure}",
            )
        )
    old = [(high, s) for s in sections.pools(decision) if (high := s["high"]) is not None]
    if old:
        _, worst = max(old, key=lambda bound: bound[0] - sections.limit_of(bound[1], decision))
        tiles.append(
            (
                signed(worst["difference"], 4),
                worst.get("unit", "bits/byte"),
                f"on old text, worst {worst['name']}; at most {signed(worst['high'], 4)}, "
                f"allowed {signed(sections.limit_of(worst, decision))}",
            )
        )
    documents = summary.get("documents") or {}
    if is_number(documents.get("trained")):
        lost = (
            f"; lost {whole(summary['lost'])}, repeated {whole(summary.get('repeated'))}"
            if is_number(summary.get("lost"))
            else ""
        )
        tiles.append(
            (
                short(documents["trained"]),
                noun(documents["trained"], "document"),
                f"trained, of {whole(documents.get('read'))} read{lost}",
            )
        )
    loss = summary.get("loss") or {}
    if is_number(last := loss.get("last")):
        tiles.append(
            (
                f"{last:.3f}",
                "nats/token",
                f"training loss at the end, {loss.get('first') or 0:.3f} at the start",
            )
        )
    if is_number(summary.get("tokens_per_second")):
        tiles.append((short(summary["tokens_per_second"]), "tokens/s", f"over {short(summary.get('tokens'))} tokens"))
    return tiles[:3]


def _tile(figure: str, unit: str, said: str) -> Html:
    return tag("div", tag("b", figure, " ", tag("small", unit)), tag("span", said))


def _facts(summary: Summary) -> Html | None:
    fresh = summary.get("freshness_s") or {}
    workers = summary.get("workers")
    known = [
        (noun(summary.get("steps"), "step"), whole(summary.get("steps"))),
        (noun(summary.get("rounds"), "round"), whole(summary.get("rounds"))),
        ("tokens", short(summary.get("tokens"))),
        (
            noun(workers, "worker") + (f", ZeRO-{stage}" if is_number(stage := summary.get("zero_stage")) else ""),
            whole(workers),
        ),
        ("tokens/s", short(summary.get("tokens_per_second"))),
        ("data wait", share(summary.get("data_wait_share"))),
        ("freshness p95", seconds(fresh.get("p95"))),
    ]
    shown = [joined([tag("b", figure), f" {name}"]) for name, figure in known if figure != "–"]
    return tag("p", Html(" · ".join(shown)), class_="facts") if shown else None
