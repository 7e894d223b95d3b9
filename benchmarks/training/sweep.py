"""Does a sweep find what the full grid finds, for less; does a population beat random search; what does a kill cost?

Real text (the standard library's own), a small model, `headrace sweep` as a user starts it. For each of three seeds,
each with a store of its own: the full grid of 12 trials over batch × rate × schedule, then ASHA over the same. ASHA's
choice is judged by what the grid says it reaches at full length. On the first seed also: a population against random
search with the same tokens where the rate must fall on the way (no schedule does it, and hardly any averaging), and a
sweep that is killed by SIGKILL and started again, compared verdict by verdict with the one that was not.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.rows import Goal, Row

GRID = {
    "engine.batch_tokens": [512, 2048],
    "optim.lr": [1e-3, 4e-3, 1.6e-2],
    "optim.schedule.kind": ["constant", "cosine"],
}
MOVING = {"optim.lr": {"distribution": "log_uniform_values", "min": 5e-4, "max": 5e-2}}
SEEDS = (11, 12, 13)


def measure(quick: bool) -> list[Row]:
    """All of it; quick: one seed and few tokens."""
    tokens = 36_864 if quick else 262_144  # of 9 parts, the first holds the largest batch
    found, rows = [], []
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        for seed in SEEDS[:1] if quick else SEEDS:
            store = f"{folder}/{seed}"
            grid = sweep(recipe(store, seed, tokens, "grid", {"scheduler": "none"}))
            asha = sweep(recipe(store, seed, tokens, "asha", {"scheduler": "asha", "reduction": 2, "marks": 4}))
            found.append((grid, asha))
        rows += against_grid(found)
        rows += population(f"{folder}/{SEEDS[0]}", tokens)
        rows += killed(f"{folder}/{SEEDS[0]}", tokens, found[0][0])
    return rows


def against_grid(found: list[tuple[dict[str, Any], dict[str, Any]]]) -> list[Row]:
    """ASHA's choice against the grid's best, and its tokens against the grid's."""
    regrets, shares = [], []
    for grid, asha in found:
        full = {trial["key"]: trial["score"] for trial in grid["trials"]}
        regrets.append(full[asha["best"]["key"]] / grid["best"]["score"] - 1)
        shares.append(asha["tokens"] / grid["tokens"])
    raw = {"grids": [[(t["config"], t["score"]) for t in grid["trials"]] for grid, _ in found]}
    raw["asha"] = [[(t["config"], t["tokens"], t["score"]) for t in asha["trials"]] for _, asha in found]
    return [
        Row(
            "ASHA: bits per byte of its choice above the best of 12 trials",
            "share",
            regrets,
            goal=Goal(0.01, at_least=False, of_ratio=False),
            why="The first mark misled it.",
            note=f"{len(found)} seeds; the choice's score at full length, as the grid found it",
            raw=raw,
        ),
        Row(
            "ASHA: tokens of the full grid",
            "share",
            shares,
            goal=Goal(0.40, at_least=False, of_ratio=False),
            why="More trials went on than one in three.",
        ),
    ]


def population(store: str, tokens: int) -> list[Row]:
    """PBT and random search over one rate, with the same tokens and the same first members."""
    asked = {"space": MOVING, "trials": 8, "marks": 12, "average": 0.02}
    drawn = {**asked, "scheduler": "none", "search": "random", "marks": 1}
    small = {"engine": {"batch_tokens": 512, "precision": "fp32"}}
    pbt = sweep(recipe(store, SEEDS[0], tokens, "pbt", {**asked, "scheduler": "pbt"}) | small)
    random = sweep(recipe(store, SEEDS[0], tokens, "random", drawn) | small)
    return [
        Row(
            "population against random search, same tokens: bits per byte",
            "bits/byte",
            [pbt["best"]["score"]],
            "random search",
            [random["best"]["score"]],
            [random["best"]["score"] / pbt["best"]["score"]],
            goal=Goal(1.0),
            why="The best constant rate was as good as any change on the way.",
            note=f"{pbt['tokens']:,} against {random['tokens']:,} tokens; the rate must fall, and no schedule does it",
            raw={"history": pbt["history"], "pbt": pbt["trials"], "random": random["trials"]},
        )
    ]


def killed(store: str, tokens: int, grid: dict[str, Any]) -> list[Row]:
    """Kill a sweep by SIGKILL when half of its trials were judged, start it again, compare."""
    settings = recipe(store, SEEDS[0], tokens, "killed", {"scheduler": "none"})
    folder = Path(store) / "runs/killed@sweep/trials"
    process = start(settings, subprocess.DEVNULL)
    half = len(grid["trials"]) * len(grid["marks"]) // 2
    deadline = time.monotonic() + 300
    while len(list(folder.glob("*/mark-*.json"))) < half and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.glob("*/mark-*.json")}
    resumed = sweep(settings)
    rewritten = sum((path.stat().st_mtime_ns, path.stat().st_ino) != known for path, known in before.items())
    scores = {trial["key"]: trial["marks"] for trial in grid["trials"]}
    other = sum(scores[trial["key"]] != trial["marks"] for trial in resumed["trials"])
    zero = Goal(0, at_least=False, of_ratio=False)
    return [
        Row(
            "killed by SIGKILL and resumed: verdicts that were made again",
            "verdicts",
            [float(rewritten)],
            goal=zero,
            why="Finished work was repeated: a defect.",
            note=f"{len(before)} of {len(grid['trials']) * len(grid['marks'])} stood at the kill",
        ),
        Row(
            "killed by SIGKILL and resumed: trials that ended otherwise than undisturbed",
            "trials",
            [float(other)],
            goal=zero,
            why="A trial does not depend on its settings alone: a defect.",
        ),
    ]


def recipe(store: str, seed: int, tokens: int, name: str, asked: dict[str, Any]) -> dict[str, Any]:
    """A small model on real text."""
    return {
        "name": name,
        "store": store,
        "seed": seed,
        "held_out": 0.04,
        "sources": {"python": {"kind": "python", "megabytes": 0.6}},
        "tokenizer": {"kind": "bytes"},
        "reservoir": {"capacity": 400, "half_life": "30d"},
        "round": {"tokens": 65_536, "replay_share": 0.25},
        "model": {"layers": 2, "width": 64, "heads": 2, "row_tokens": 128},
        "engine": {"batch_tokens": 4096, "precision": "fp32", "micro_batch_rows": 8},
        "optim": {"lr": 4e-3, "schedule": {"kind": "constant", "warmup_tokens": 4096}},
        "evaluate": {"documents_per_slice": 4},
        "wandb": {"mode": "disabled"},
        "sweep": {"trials": 12, "tokens": tokens, "space": GRID, **asked},
    }


def sweep(settings: dict[str, Any]) -> dict[str, Any]:
    """Run `headrace sweep` to its end; the JSON object of its last line."""
    process = start(settings, subprocess.PIPE)
    out, _ = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"headrace sweep ended with {process.returncode}: {out[-2000:]}")
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def start(settings: dict[str, Any], out: int) -> subprocess.Popen[str]:
    """Start `headrace sweep`; its own lines go to stderr."""
    place = Path(settings["store"]).with_suffix(f".{settings['name']}.yaml")
    place.write_text(yaml.safe_dump(settings))
    argv = [sys.executable, "-m", "ray_jobs", "sweep", "-c", str(place), "--json"]
    return subprocess.Popen(argv, stdout=out, text=True, env=dict(os.environ))
