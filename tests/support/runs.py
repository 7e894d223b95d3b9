"""Real runs for the end-to-end tests: a corpus, a small recipe, the command line in a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any

from tests.support.root import ROOT

STARTED: list[subprocess.Popen[str]] = []
WORDS = "river water wheel mill stone grain flour bread oven fire wood axe tree leaf wind rain".split()  # noqa: SIM905
RECIPE = """
name: small
store: ./lake
seed: 7
held_out: 10%
sources: {wire: {kind: files, path: "corpus/*.jsonl", text: body, time: at}}
window: {max_documents: 60}
tokenizer: {kind: bytes}
reservoir: {capacity: 80, half_life: [10d, none], shards: 2}
round: {tokens: 8192, replay_share: 0.25}
model: {layers: 1, width: 32, heads: 2, row_tokens: 64}
engine: {workers: 2, zero_stage: 2, precision: fp32, batch_tokens: 1024, micro_batch_rows: 4}
optim: {lr: 3.0e-3, schedule: {warmup_tokens: 2048}}
checkpoint: {every_seconds: 1s}
evaluate: {documents_per_slice: 10}
wandb: {mode: disabled}
"""


def write_documents(path: Path, count: int, first: int = 0, append: bool = False) -> None:
    """Write dated JSON lines; document n is the same whenever it is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a" if append else "w") as file:
        for n in range(first, first + count):
            random = Random(n)
            at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=n)
            body = f"Document {n}: {' '.join(random.choice(WORDS) for _ in range(random.randint(5, 40)))}."
            file.write(json.dumps({"body": body, "at": at.isoformat()}) + "\n")


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens, and which the kernel gives to nobody: it draws from 32768 on."""
    free: list[int] = []
    for port in Random().sample(range(30000, 32768), 2768):
        with socket.socket() as probe:
            if len(free) < count and probe.connect_ex(("127.0.0.1", port)) != 0:
                free.append(port)
    return free


def environment() -> dict[str, str]:
    """A user's environment: nothing of this process's Ray."""
    return {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {"PYTHONPATH": str(ROOT)}


def start(
    folder: Path,
    *arguments: str,
    recipe: str = RECIPE,
    more: Mapping[str, str] = MappingProxyType({}),
    command: str = "run",
) -> subprocess.Popen[str]:
    """Start `headrace run` in a folder that gets run.yaml, with more environment; stderr goes to a file there."""
    (folder / "run.yaml").write_text(recipe)
    argv = [sys.executable, "-m", "ray_jobs", command, "-c", "run.yaml", "--json", *arguments]
    errors = (folder / "stderr.txt").open("a")
    env = environment() | more
    process = subprocess.Popen(argv, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=errors, text=True)
    STARTED.append(process)
    return process


def end_all() -> None:
    """End what a failed test left running."""
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            kill(process)


def finish(process: subprocess.Popen[str], timeout_s: float = 300) -> tuple[int, dict[str, Any]]:
    """Wait for a command; its exit code and the JSON object of its last line."""
    out, _ = process.communicate(timeout=timeout_s)
    lines = out.strip().splitlines()
    return process.returncode, json.loads(lines[-1]) if lines else {}


def command(folder: Path, *arguments: str, timeout_s: float = 300) -> tuple[int, dict[str, Any]]:
    """Run another command on the folder's run to its end."""
    (folder / "run.yaml").write_text(RECIPE)
    argv = [sys.executable, "-m", "ray_jobs", arguments[0], "-c", "run.yaml", "--json", *arguments[1:]]
    errors = (folder / "stderr.txt").open("a")
    process = subprocess.Popen(argv, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=errors, text=True)
    return finish(process, timeout_s)


def events(folder: Path) -> list[dict[str, Any]]:
    """What the run has told so far."""
    path = folder / "lake/runs/small/metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


def wait_for(folder: Path, process: subprocess.Popen[str], seen: Callable[[list[dict[str, Any]]], bool]) -> None:
    """Wait until the run's events satisfy `seen`; AssertionError if it ends before."""
    deadline = time.monotonic() + 240
    while not seen(events(folder)):
        assert process.poll() is None, f"the run ended early:\n{(folder / 'stderr.txt').read_text()[-3000:]}"
        assert time.monotonic() < deadline, f"nothing happened:\n{(folder / 'stderr.txt').read_text()[-3000:]}"
        time.sleep(0.05)


def wait_until(happened: Callable[[], bool], seconds: float, explain: Callable[[], str]) -> None:
    """Wait until something happened; AssertionError with an explanation if it does not."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.1)


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL the driver."""
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)


def windows(told: list[dict[str, Any]]) -> int:
    """How many windows were told of."""
    return sum(event["event"] == "window" for event in told)


def last_step(told: list[dict[str, Any]]) -> int:
    """The newest step told of."""
    return max((event["step"] for event in told if event["event"] == "step"), default=0)
