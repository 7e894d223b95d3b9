"""How good are the figures on this machine? `python -m benchmarks [NAME ...] [--quick]`.

Every benchmark runs in a process of its own, one after the other. Raw figures with their circumstances go to
results/<date>.json, the table to results/<date>.md and to the screen. --quick shows that everything works; its figures
mean little, so they are written to results/quick.* instead. Exit code 1 if a benchmark failed, 0 otherwise: a missed
goal is told in the table.
"""

import argparse
import importlib
import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.root import RESULTS, ROOT
from benchmarks.rows import Goal, Row, table
from cluster.telemetry.logs import setup_logging

BENCHMARKS = {
    "train_loop": "benchmarks.training.train_loop:measure",
    "own_files": "benchmarks.training.own_files:measure",
    "window": "benchmarks.data.window:measure",
    "ingest": "benchmarks.data.ingest:measure",
    "digests": "benchmarks.data.digests:measure",
    "kafka": "benchmarks.data.sources.kafka:measure",
    "sql": "benchmarks.data.sources.sql:measure",
    "tables": "benchmarks.data.sources.tables:measure",
    "push": "benchmarks.data.sources.push:measure",
    "resume": "benchmarks.training.resume:measure",
    "checkpoint": "benchmarks.training.checkpoint:measure",
    "stall": "benchmarks.training.stall:measure",
    "compact": "benchmarks.data.compact:measure",
    "reservoir": "benchmarks.data.kernels:measure_reservoir",
    "packing": "benchmarks.data.kernels:measure_packing",
    "rules": "benchmarks.data.rules:measure",
    "scale": "benchmarks.scale.measure:measure",
    "plan_facts": "benchmarks.planner.plan_facts:measure",
    "sweep": "benchmarks.training.sweep:measure",
    "gate": "benchmarks.gate.measure:measure",
    "load": "benchmarks.models.load:measure",
    "continued": "benchmarks.models.continued:measure",
    "serve": "benchmarks.models.serve:measure",
    "multi_token": "benchmarks.models.multi_token:measure",
    "drift": "benchmarks.mixing.drift:measure",
}
PACKAGES = ("headrace", "torch", "deepspeed", "ray", "pyarrow", "deltalake", "numpy", "numba", "tokenizers", "orjson")
MOST_SECONDS = 5400  # a sweep takes a quarter of an hour, on a busy machine three


def main(arguments: list[str]) -> int:
    """Run what is named, or all; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, write results, show a table.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(BENCHMARKS)}; default all")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does everything work?")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)  # a child: write one benchmark's rows here
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.names if name not in BENCHMARKS]:
        parser.error(f"{unknown[0]!r} is no benchmark; use some of {', '.join(BENCHMARKS)}")
    if given.into:
        run_here(given.names[0], given.quick, given.into)
        return 0
    return run_all(given.names or list(BENCHMARKS), given.quick)


def run_all(names: list[str], quick: bool) -> int:
    """Run benchmarks one by one, write each as it comes and print them; others of the same day's file stay in it."""
    began = datetime.now(UTC)
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / ("quick.json" if quick else f"{began:%Y-%m-%d}.json")
    found: dict[str, Any] = json.loads(target.read_text())["benchmarks"] if target.exists() and not quick else {}
    text = ""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        for name in names:
            sys.stderr.write(f"{name} ...\n")
            found[name] = run_apart(name, quick, Path(folder) / f"{name}.json")
            raw = {"date": began.isoformat(timespec="seconds"), "quick": quick, **circumstances()}
            raw["benchmarks"] = {known: found[known] for known in BENCHMARKS if known in found}
            text = page(raw)
            target.write_text(json.dumps(raw, indent=1) + "\n")
            target.with_suffix(".md").write_text(text)
    print(text)
    return int(any("failed" in found[name] for name in names))


def run_apart(name: str, quick: bool, into: Path) -> dict[str, Any]:
    """Run one benchmark in a process of its own: its rows, time and the machine's load before and after."""
    before, began = os.getloadavg(), time.monotonic()
    argv = [sys.executable, "-m", "benchmarks", name, "--into", str(into), *(["--quick"] if quick else [])]
    peers = os.environ.get("PYTHONPATH")  # where one lies that is not installed here
    paths = str(ROOT) + (f"{os.pathsep}{peers}" if peers else "")
    env = {"PYTHONWARNINGS": "ignore", **os.environ, "PYTHONPATH": paths}
    around = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "load_before": before}
    try:
        done = subprocess.run(
            argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=MOST_SECONDS, check=False
        )
        around |= {"load_after": os.getloadavg(), "seconds": round(time.monotonic() - began, 1)}
        if done.returncode == 0:
            return {**around, "rows": json.loads(into.read_text())}
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        sys.stderr.write(done.stderr[-4000:])
    except subprocess.TimeoutExpired:
        said = f"not done after {MOST_SECONDS} s"
    return {**around, "rows": [], "failed": said}


def run_here(name: str, quick: bool, into: Path) -> None:
    """Run one benchmark in this process and write its rows."""
    setup_logging()
    logging.getLogger().setLevel(logging.ERROR)
    module, _, function = BENCHMARKS[name].partition(":")
    rows = getattr(importlib.import_module(module), function)(quick)
    into.write_text(json.dumps([row.to_dict() for row in rows]))


def page(raw: dict[str, Any]) -> str:
    """The results as Markdown."""
    rows = [from_dict(row) for one in raw["benchmarks"].values() for row in one["rows"]]
    failed = [f"- **{name} failed:** {one['failed']}\n" for name, one in raw["benchmarks"].items() if "failed" in one]
    loads = [one["load_before"][0] for one in raw["benchmarks"].values()]
    times = [one.get("at", raw["date"])[11:16] for one in raw["benchmarks"].values()]
    title = f"# Benchmarks of {raw['date'][:10]}" + (" (quick: figures mean little)" if raw["quick"] else "")
    where = (
        f"{raw['cpu']}, {raw['cores']} cores, {raw['memory_gb']} GB; Python {raw['python']}, "
        + ", ".join(f"{name} {number}" for name, number in raw["versions"].items())
        + f". Measured from {min(times)} to {max(times)} UTC. One-minute load before each benchmark "
        f"{min(loads):.1f} to {max(loads):.1f}; other Ray clusters on the machine: {raw['other_raylets']}. A ratio is "
        "taken within one run, ours to the other, in turns; figures are "
        "median [smallest..largest] of the repeats."
    )
    return f"{title}\n\n{where}\n\n{table(rows)}{''.join(failed)}"


def from_dict(found: dict[str, Any]) -> Row:
    """A row as it was before it was written, without its raw figures."""
    kept = {k: found[k] for k in ("what", "unit", "ours", "against_name", "against", "ratios", "why", "note")}
    goal = Goal(*found["goal_bound"]) if found["goal_bound"] else None
    return Row(**kept, goal=goal)


def circumstances() -> dict[str, Any]:
    """Machine and versions."""
    info = Path("/proc/cpuinfo")
    models = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return {
        "cpu": models[0].partition(":")[2].strip() if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "other_raylets": sum(_is_raylet(path) for path in Path("/proc").glob("[0-9]*/comm")),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _is_raylet(path: Path) -> bool:
    try:
        return path.read_text().strip() == "raylet"
    except OSError:
        return False  # it has just ended


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
