"""How much of a run's wall time do checkpoints stop training, and what takes that time?

The demo's model, rounds and two workers on more of the same text, as `headrace run -c demo` trains it, with a commit
every 60 seconds, the default. The stalls are those that the run reports itself; beside them, how much longer a step
takes while a checkpoint is being written. What a stall consists of is measured in one process on the same model.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.rows import Goal, Row
from models.config import EngineConfig
from models.engine import checkpoint, engine
from ray_jobs.config.reading import read_config
from ray_jobs.config.schema import Config

REPEATS = 9


def measure(quick: bool) -> list[Row]:
    """Run it once; quick: a fifth of the text and a commit every 5 seconds."""
    every, megabytes = (5, 1.5) if quick else (60, 5.0)
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        text = [f"sources.python.megabytes={megabytes}", f"checkpoint.every_seconds={every}"]
        argv = [sys.executable, "-m", "ray_jobs", "train", "-c", "demo", f"store={folder}/store", *text, "--json"]
        done = subprocess.run(argv, cwd=folder, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"headrace train ended with {done.returncode}: {done.stdout[-2000:]}")
        told = [json.loads(line) for line in Path(folder, "store/runs/demo/metrics.jsonl").read_text().splitlines()]
    return rows(told, every, parts(read_config(["demo"])))


def rows(told: list[dict[str, Any]], every: float, parted: dict[str, list[float]]) -> list[Row]:
    """The table of a run's events; the checkpoint at its end, which stops nothing, is left out."""
    steps = [event for event in told if event["event"] == "step" and not event["branch"]]
    began, ended = steps[0]["time"] - steps[0]["seconds"], steps[-1]["time"]
    taken = [event for event in told if event["event"] == "checkpoint" and event["step"] < steps[-1]["step"]]
    commits = {event["step"]: event["time"] for event in told if event["event"] == "commit"}
    stalls = [event["checkpoint_stall_s"] for event in taken]
    written = [(event["time"], commits[event["step"]]) for event in taken if event["step"] in commits]
    beside, apart = list[float](), list[float]()
    for step in steps:
        overlaps = any(a < step["time"] and step["time"] - step["seconds"] < b for a, b in written)
        (beside if overlaps else apart).append(step["seconds"])
    slower = statistics.median(beside) / statistics.median(apart) if beside and apart else 1.0
    writing = sum(b - a for a, b in written) / (ended - began)
    what = f"run in the demo's proportions, a commit every {every:g} s"
    raw = {"wall_s": ended - began, "steps": len(steps), "stalls_s": stalls, "writes_s": [b - a for a, b in written]}
    lasted = ended - began
    said = ", ".join(f"{name} {1e3 * statistics.median(found):.1f} ms" for name, found in parted.items())
    return [
        Row(
            f"{what}: stall share of wall time",
            "",
            [sum(stalls) / (ended - began)],
            goal=Goal(0.01, at_least=False, of_ratio=False),
            why="See the parts of a stall in the note.",
            note=f"{len(stalls)} checkpoints in {lasted:.0f} s of training; parts of one, in one process: {said}.",
            raw=raw,
        ),
        Row(f"{what}: one stall", "ms", [1e3 * stall for stall in stalls]),
        Row(
            f"{what}: a step while one is written",
            "s",
            [statistics.median(beside or [0.0])],
            "other steps",
            [statistics.median(apart)],
            [slower],
            note=f"medians of {len(beside)} and {len(apart)} steps; it is so {100 * writing:.2g} % of the time.",
        ),
    ]


def parts(config: Config) -> dict[str, list[float]]:
    """Seconds of the two parts of a stall: the copy to host memory, and the probe's loss, which is recorded with it."""
    alone = EngineConfig.model_validate({**config.engine.model_dump(), "workers": 1})
    made = engine.start(config.model, 2048, alone, config.optim, seed=0)
    found: dict[str, list[float]] = {"copy": [], "probe": []}
    buffers = None
    for _ in range(REPEATS + 1):  # the first one touches memory
        began = time.perf_counter()
        buffers = checkpoint.snapshot(made, buffers)
        copied = time.perf_counter()
        made.probe()
        found["copy"].append(copied - began)
        found["probe"].append(time.perf_counter() - copied)
    made.close()
    return {name: seconds[1:] for name, seconds in found.items()}
