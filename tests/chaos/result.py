"""What do the runs add up to, and how is it written down?

One JSON line a run as soon as it is over, so a campaign that is stopped still has its result; then the summary over all
lines of the file, as JSON and as a page. Goodput of the runs is wall time undisturbed over disturbed. The curve for
large clusters is a model fed with what was measured: goodput = 1 - stall/T - (T/2 + R)/MTTF, with T the interval
between checkpoints, R the time to recover and MTTF scaled from 7.9 h at 1,024 A100s (Kokolis et al., HPCA 2025).
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.chaos.checker.recovery import PARTS
from tests.chaos.schedule import DAMAGES, KILLS, STOPS

MTTF_HOURS, MTTF_GPUS = 7.9, 1024
STALL_SECONDS = 1.0  # of a large model's snapshot; ours stalls for milliseconds, which says nothing about 70 GB
INTERVALS = (60.0, 300.0, 600.0)
DEADLY = (*KILLS, *STOPS, *DAMAGES, "memory")  # what counts as a kill; the others end no process
Run = dict[str, Any]


def append(path: Path, run: Run) -> None:
    """Add a run's line."""
    with path.open("a") as file:
        file.write(json.dumps(run) + "\n")


def read(path: Path) -> list[Run]:
    """Every run written down so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def summarise(runs: list[Run]) -> dict[str, Any]:
    """Everything over all runs."""
    entries = [entry for run in runs for entry in run["recoveries"]]
    kinds = Counter(entry["kind"] for entry in entries)
    by_kind = {kind: _of_kind([e for e in entries if e["kind"] == kind]) for kind in sorted(kinds)}
    restarted = [e["seconds"] for e in entries if e["seconds"] is not None and e["restarted"]]
    kept = [run for run in runs if run["same_bits"]]
    inside = [e["seconds"] for e in entries if e["seconds"] is not None and e["kind"] == "worker"]
    return {
        "runs": len(runs),
        "passed": sum(run["ok"] for run in runs),
        "failed_seeds": [run["seed"] for run in runs if not run["ok"]],
        "kills": sum(entry["kind"] in DEADLY for entry in entries),
        "faults": len(entries),
        "not_brought_about": Counter(f["fault"]["kind"] for run in runs for f in run["life"]["fired"] if not f["done"]),
        "documents": sum(sum(run["states"].values()) for run in runs),
        "lost": sum(run["lost"] for run in runs),
        "repeated": sum(run["repeated"] for run in runs),
        "interventions": sum(len(run["life"]["interventions"]) for run in runs),
        "leftovers": sum(len(run["life"]["leftovers"]) for run in runs),
        "bitwise_equal": f"{sum(run['ok'] for run in kept)} of {len(kept)}",
        "goodput": round(sum(r["twin_seconds"] for r in runs) / max(1e-9, sum(r["life"]["seconds"] for r in runs)), 3),
        "recovery_s": {"worker": percentiles(inside), "all_that_restarted_workers": percentiles(restarted)},
        "by_fault": by_kind,
        "curve": curve(percentiles(restarted).get("p95", 120.0)),
    }


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """p50 and p95 by nearest rank; empty for no values."""
    ordered = sorted(values)
    if not ordered:
        return {}
    return {f"p{q}": ordered[math.ceil(q / 100 * len(ordered)) - 1] for q in (50, 95)}


def curve(recovery_s: float) -> list[dict[str, float]]:
    """Goodput at 64 and 1,024 A100s: with the recovery measured here, and with 120 s for a model that loads longer."""
    found = []
    for gpus in (64, 1024):
        mttf_s = MTTF_HOURS * 3600 * MTTF_GPUS / gpus
        for recover in (recovery_s, 120.0):
            for interval in INTERVALS:
                share = 1 - STALL_SECONDS / interval - (interval / 2 + recover) / mttf_s
                found.append({"gpus": gpus, "interval_s": interval, "recovery_s": recover, "goodput": round(share, 4)})
    return found


def page(summary: dict[str, Any], runs: list[Run], circumstances: str) -> str:
    """The summary for people."""
    s = summary
    lines = [
        "# The breaking machine",
        "",
        circumstances,
        "",
        f"{s['runs']} runs, {s['passed']} passed; {s['kills']} kills of {s['faults']} faults. "
        f"{s['documents']:,} documents: **{s['lost']} lost, {s['repeated']} repeated**. "
        f"**{s['interventions']} interventions.** Weights and optimizer equal to the bit in {s['bitwise_equal']} runs "
        f"that kept their settings. Processes left behind: {s['leftovers']}.",
        f"Failed seeds: {s['failed_seeds'] or 'none'}. Not brought about: {_counts(s['not_brought_about']) or 'none'}.",
        "",
        "| fault | times | training again, p50 / p95 | steps done again, p50 / most | parts of it, p50 |",
        "|---|---|---|---|---|",
    ]
    for kind, row in s["by_fault"].items():
        parts = " + ".join(f"{name} {value:.1f}" for name, value in row["parts_p50"].items()) or "goes on meanwhile"
        times = row["seconds"]
        again = f"{times['p50']:.1f} s / {times['p95']:.1f} s" if times else "something else came first"
        lost = f"{row['steps_lost'].get('p50', 0):.0f} / {row['steps_lost_most']}"
        lines.append(f"| {kind} | {row['times']} | {again} | {lost} | {parts} |")
    lines += [
        "",
        f"Goodput of these runs (wall time undisturbed over disturbed, a kill every {_spacing(runs):.0f} s): "
        f"{s['goodput']:.2f}.",
        "",
        "| A100s | a checkpoint every | time to recover | goodput the model gives |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {row['gpus']:,} | {row['interval_s']:.0f} s | {row['recovery_s']:.0f} s | {row['goodput']:.2%} |"
        for row in s["curve"]
    ]
    columns = ("seed", "kind", "store", "settings", "kills", "documents", "commit", "result")
    lines += ["", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for run in sorted(runs, key=lambda run: run["seed"]):
        kills = sum(entry["kind"] in DEADLY for entry in run["recoveries"])
        said = "ok" if run["ok"] else "; ".join(run["problems"])[:200]
        where = "bucket" if run["life"]["plan"].get("bucket") else "disk"
        states = _counts(run["states"])
        cells = (run["seed"], run["sort"], where, run["settings"], kills, states, run.get("code", ""), said)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {number}" for name, number in found.items())


def _of_kind(entries: list[dict[str, Any]]) -> dict[str, Any]:
    lost = [entry["steps_lost"] for entry in entries if entry["restarted"]]
    parts = {name: [e["parts"][name] for e in entries if name in e["parts"]] for name in PARTS}
    return {
        "times": len(entries),
        "seconds": percentiles(e["seconds"] for e in entries if e["seconds"] is not None),
        "overtaken": sum(entry["seconds"] is None for entry in entries),
        "steps_lost": percentiles(lost),
        "steps_lost_most": max(lost, default=0),
        "parts_p50": {name: percentiles(values)["p50"] for name, values in parts.items() if values},
    }


def _spacing(runs: list[Run]) -> float:
    return sum(run["life"]["seconds"] for run in runs) / max(1, sum(len(run["recoveries"]) for run in runs))
