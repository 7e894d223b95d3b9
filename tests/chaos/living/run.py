"""How does a run live: followed, judged as it goes, killed; and what is it compared with?

A supervisor starts the same command again after every end. Kills come at moments that matter: within a candidate's
decay, while the gate thinks, at a worker, at the feed. Rounds close by tokens alone, so the same arrivals give the same
rounds; the calm twin trains the windows of a copy of the lake, undisturbed and unjudged, and must have the same bits.
"""

import json
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.storage.store import Store
from data_ops.lake.lake import Lake
from models.engine.checkpoint import weights_sha256
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.store.paths import branch_name, branches_of
from tests.chaos import processes
from tests.chaos.living.writer import Writer
from tests.support.runs import finish, start

RUN, CALM = "living", "calm"
RECIPE = """
name: living
store: ./lake
seed: 7
held_out: 10%
sources: {wire: {kind: files, path: "corpus/*.jsonl", text: body, time: at}}
window: {max_documents: 400, max_seconds: 1s}
tokenizer: {kind: bytes}
reservoir: {capacity: 2000, half_life: [10d, none], shards: 1}
round: {tokens: 8192, replay_share: 0.25, max_seconds: 1d}
model: {layers: 2, width: 64, heads: 2, row_tokens: 256}
engine: {workers: 1, zero_stage: 1, precision: fp32, batch_tokens: 2048, micro_batch_rows: 8}
optim: {lr: 3.0e-3, schedule: {warmup_tokens: 50000}}
checkpoint: {every_seconds: 5s}
evaluate: {documents_per_slice: 40, every_rounds: 10, period: day}
wandb: {mode: disabled}
"""


@dataclass
class Kill:
    """A kill: what dies, behind which event, and when it came."""

    what: str  # driver | worker | feed
    behind: str  # kind of an event of the run, or "" for any moment
    at: float = 0.0
    pid: int = 0


@dataclass
class Living:
    """One supervised run in a folder."""

    folder: Path
    every: str
    candidate: str = "decay"
    told: Callable[[str], None] = print
    kills: list[Kill] = field(default_factory=list)
    done: list[Kill] = field(default_factory=list)
    starts: int = 0
    offset: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)

    def follow(self, writer: Writer, goes_on: Callable[[], bool], kill_every_s: float = 60.0) -> None:
        """Live beside a corpus that grows, with a kill now and then, while it goes on; then stop in good order."""
        next_kill = time.monotonic() + kill_every_s
        with writer:
            driver = self._start("--follow")
            while goes_on():
                fresh = self._read()
                if driver.poll() is not None:
                    driver = self._start("--follow")
                if self.kills and time.monotonic() >= next_kill and self._kill(driver, fresh):
                    next_kill = time.monotonic() + kill_every_s
                time.sleep(0.1)
        while driver.poll() is None:
            driver.send_signal(signal.SIGTERM)
            time.sleep(2)
        driver.communicate()
        self._read()

    def verdicts(self) -> list[str]:
        """What the gate has said so far, a word each."""
        return [event["verdict"] for event in self.events if event["event"] == "judged"]

    def drain(self) -> dict[str, Any]:
        """Train what is left to the end, and return the summary."""
        code, summary = finish(self._start(), 900)
        self._read()
        if code:
            raise RuntimeError(f"the run ended with {code}: {(self.folder / 'stderr.txt').read_text()[-2000:]}")
        return summary

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        self.starts += 1
        return start(
            self.folder, *arguments, f"judge.every={self.every}", f"judge.candidate={self.candidate}", recipe=RECIPE
        )

    def _read(self) -> list[dict[str, Any]]:
        """Take in the events that are new."""
        path = self.folder / f"lake/runs/{RUN}/metrics.jsonl"
        if not path.exists():
            return []
        with path.open("rb") as file:
            file.seek(self.offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self.offset += len(whole)
        fresh = [json.loads(line) for line in whole.splitlines() if line.startswith(b"{") and line.endswith(b"}")]
        self.events += fresh
        return fresh

    def _kill(self, driver: subprocess.Popen[str], fresh: list[dict[str, Any]]) -> bool:
        """Bring the next kill about if its moment has come."""
        kill = self.kills[0]
        if kill.behind and not any(event["event"] == kill.behind for event in fresh):
            return False
        family = [one for one in processes.family(driver.pid) if one.name == kill.what]
        if not family:
            return False
        time.sleep(random.random() * 0.3)
        processes.send(family[0], signal.SIGKILL)
        kill.at, kill.pid = time.time(), family[0].pid
        self.told(f"killed the {kill.what} {f'behind a {kill.behind}' if kill.behind else 'at some moment'}")
        self.done.append(self.kills.pop(0))
        return True


def calm_twin(folder: Path, lake: Path, *arguments: str) -> dict[str, Any]:
    """Train the windows of a copy of a lake as another run: planned anew, undisturbed; returns its summary."""
    shutil.copytree(lake, folder / "lake", ignore=lambda at, names: {"runs", "registry"} & set(names))
    recipe = RECIPE.replace("corpus/*.jsonl", f"{lake.parent}/corpus/*.jsonl")
    code, summary = finish(start(folder, f"name={CALM}", *arguments, recipe=recipe), 1800)
    if code:
        raise RuntimeError(f"the calm run ended with {code}: {(folder / 'stderr.txt').read_text()[-2000:]}")
    return summary


def bits_of(lake: Path, run: str) -> dict[str, str]:
    """Hash the weights of what is kept of a run: its newest step, and every candidate by where it left and its step."""
    store, found = Store.open(str(lake)), dict[str, str]()
    last = commits.latest(store, run)
    kept = [(f"main {last.step}", last)] if last else []
    for left_at in branches_of(store, run):
        branch = branch_name(run, left_at)
        kept += [(f"{left_at} {step}", commits.load(store, branch, step)) for step in commits.commits(store, branch)]
    for name, one in kept:
        found[name] = weights_sha256([lake / file.path for file in one.files])
    return found


def rounds_of(lake: Path, run: str) -> list[dict[str, Any]]:
    """The recorded rounds of a run."""
    return list(Lake(Store.open(str(lake))).rounds(run).drop_columns(["run"]).sort_by("round").to_pylist())
