"""How is a run kept alive while it is being broken, and what was seen of it?

A supervisor as a job scheduler has it: it starts `headrace run`, and starts the same command again after any end that
is not 0. That is automatic. Whatever else a human would have to do is an intervention: to end a command that makes no
progress, to wake a rank, to give up on a command that fails again and again.
"""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos import corpus, processes
from tests.chaos.bucket import Bucket
from tests.chaos.processes import Process
from tests.chaos.schedule import POISONS, Fault, Moment, Plan, Setting
from tests.support.runs import ROOT, start

RECIPE = """
name: small
store: ./lake
seed: 7
held_out: 10%
sources:
  notes: {kind: files, path: "corpus/notes/*.jsonl", text: body, time: at}
  wire: {kind: files, path: "corpus/wire.jsonl", text: body, time: at, weight: 0.5}
window: {max_documents: 40}
curate: {rules: [too_short], min_chars: 20}
tokenizer: {kind: bytes}
reservoir: {capacity: 200, half_life: [10d, none], shards: 2}
round: {tokens: 8192, replay_share: 0.25}
model: {layers: 2, width: 64, heads: 2, row_tokens: 128}
engine: {workers: 2, zero_stage: 2, precision: fp32, batch_tokens: 1024, micro_batch_rows: 4, hang_seconds: 60s}
optim: {lr: 3.0e-3, schedule: {warmup_tokens: 2048}, spike_sigmas: 12}
checkpoint: {every_seconds: 1s}
evaluate: {documents_per_slice: 10, every_rounds: 2}
wandb: {mode: disabled}
"""
RUN = "small"
EVENTS = f"runs/{RUN}/metrics.jsonl"
POLL_SECONDS = 0.1
STUCK_SECONDS = 300.0  # without a word from the run, on a busy machine
FRUITLESS_STARTS = 8  # commands in a row that trained nothing new and did not end well
LINGER_SECONDS = 20.0  # how long processes of a dead driver may take to end
RESTART_SECONDS = 0.5
CLOCK_BACK_SECONDS = 3600
WITHIN_PROCESSES = Path(__file__).parent / "within"  # holds a sitecustomize module
OVERDUE_STEPS = 16  # a moment that did not come until then never will: the last window was before, say


@dataclass
class Fired:
    """A fault that was brought about: when, in which stage, and what came of it."""

    fault: Fault
    stage: int
    at: float
    done: bool  # False: what it aims at was not there
    note: str = ""


@dataclass
class Told:
    """The run's events, read as they are written, to a file or to a bucket."""

    path: Path
    bucket: Bucket | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    offset: int = 0

    def read(self) -> bool:
        """Take in what is new; True if there was something."""
        if self.bucket is not None:
            data = self.bucket.read(EVENTS, self.offset)
        elif self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read()
        else:
            return False
        whole = data[: data.rfind(b"\n") + 1]
        self.offset += len(whole)
        for line in whole.splitlines():
            with contextlib.suppress(json.JSONDecodeError):  # a driver was killed within a line
                self.events.append(_on_our_clock(json.loads(line)))
        return bool(whole)


@dataclass
class Life:
    """One supervised run and everything that was seen of it. `bring_about` is what does the damage."""

    folder: Path
    plan: Plan
    bring_about: Callable[["Life", Fault], tuple[bool, str]]
    fired: list[Fired] = field(default_factory=list)
    sightings: list[tuple[float, str, int]] = field(default_factory=list)  # (time, start | exit | NAMES, pid or code)
    interventions: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    summaries: list[dict[str, Any]] = field(default_factory=list)
    pieces: list[list[int]] = field(default_factory=list)  # per stage: sizes of the pieces by which the corpus grew
    stages_began: list[float] = field(default_factory=list)
    starts: int = 0
    stage: int = 0
    seconds: float = 0.0  # wall time of all commands
    bucket: Bucket | None = None  # that holds the store, if this is not the folder ./lake

    def __post_init__(self) -> None:
        self.told = Told(self.folder / "lake" / EVENTS, self.bucket)
        self.seen: dict[tuple[int, int], Process] = {}
        self.driver: subprocess.Popen[str] | None = None
        self.before_restart: list[Callable[[], None]] = []
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.expected_end = 0.0  # a fault that ends the driver came at this time

    def run(self) -> bool:
        """Live through all stages; False if a human would have had to give up."""
        for stage, faults in enumerate(self.plan.stages):
            self.stage = stage
            first = self.pieces[self.stage] if self.stage < len(self.pieces) else [self.plan.records]
            self.pieces[self.stage :] = [[], *self.pieces[self.stage + 1 :]]
            for records in first:
                self.grow(records)
            if not self._drain(list(faults)):
                return False
        return not self.plan.grows or self._drain([])  # what came too late for its stage; else there is nothing to do

    def grow(self, records: int, torn: bool = False) -> None:
        """Let the corpus grow by its next piece."""
        corpus.grow(self.folder, self.plan.corpus, sum(map(len, self.pieces[: self.stage + 1])), records, torn)
        self.pieces[self.stage].append(records)

    def family(self, name: str) -> list[Process]:
        """The run's processes of a name (see processes.NAMES), or of any name with ""."""
        assert self.driver is not None
        return [p for p in processes.family(self.driver.pid) if name in ("", p.name)]

    def step(self) -> int:
        """The newest step told of the main line."""
        return max((e["step"] for e in self.told.events if e["event"] == "step" and not e.get("branch")), default=0)

    def environment(self) -> dict[str, str]:
        """What the run's processes get besides a user's environment, so that they can be misled from within."""
        return {"PYTHONPATH": f"{WITHIN_PROCESSES}{os.pathsep}{ROOT}", "CHAOS_FOLDER": str(self.folder)}

    def intervene(self, why: str) -> None:
        """Write down that a human would have been needed."""
        self.interventions.append(f"stage {self.stage}: {why}")

    def _drain(self, faults: list[Fault]) -> bool:
        """Start the command until it ends with 0; what is left of the faults then was never reached."""
        began, fruitless, mark = time.time(), 0, Mark(self)
        self.stages_began.append(began)
        while True:
            before = self.step()
            code = self._watch(faults, mark)
            if code == 0:
                break
            fruitless = 0 if self.step() > before or self.expected_end else fruitless + 1
            if fruitless >= FRUITLESS_STARTS:
                self.intervene(f"{fruitless} starts in a row ended without a new step, the last with code {code}")
                return False
            for act in self.before_restart:
                act()
            self.before_restart = []
            time.sleep(RESTART_SECONDS)
        self.seconds += time.time() - began
        while self.later:
            self.later.pop()[1]()
        self._end_leftovers()
        self._take_poison_back()
        self.fired += [Fired(f, self.stage, time.time(), False, "not reached") for f in faults]
        return True

    def _watch(self, faults: list[Fault], mark: "Mark") -> int:
        """Start the command once and see it through; its exit code."""
        setting = self.plan.settings[self.starts % len(self.plan.settings)]
        self.starts += 1
        self.expected_end = 0.0
        where, more = (self.bucket.arguments, self.bucket.environment) if self.bucket else ((), {})
        more = more | self.environment()
        driver = self.driver = start(self.folder, *arguments(setting), *where, recipe=RECIPE, more=more)
        self.sightings.append((time.time(), "start", driver.pid))
        heard = time.monotonic()
        while driver.poll() is None:
            if self.told.read():
                heard = time.monotonic()
            self._look()
            self._act_later()
            if faults and mark.reached(faults[0].moment):
                self._fire(faults.pop(0))
                mark.set()
            if time.monotonic() - heard > STUCK_SECONDS:
                self.intervene(f"no word for {STUCK_SECONDS:.0f} s; the driver was killed")
                driver.kill()
            time.sleep(POLL_SECONDS)
        out, _ = driver.communicate()
        self.told.read()
        self.sightings.append((time.time(), "exit", driver.returncode))
        with contextlib.suppress(json.JSONDecodeError, IndexError):
            self.summaries.append({"code": driver.returncode, **json.loads(out.strip().splitlines()[-1])})
        return driver.returncode

    def _fire(self, fault: Fault) -> None:
        at = time.time()
        done, note = self.bring_about(self, fault)
        self.fired.append(Fired(fault, self.stage, at, done, note))

    def _look(self) -> None:
        """Note when processes of a name are first seen."""
        for process in self.family(""):
            key = (process.pid, process.started)
            if key not in self.seen or (process.name and not self.seen[key].name):
                self.seen[key] = process
                if process.name:
                    self.sightings.append((time.time(), process.name, process.pid))

    def _act_later(self) -> None:
        due = [entry for entry in self.later if entry[0] <= time.time()]
        for entry in due:
            self.later.remove(entry)
            entry[1]()

    def _take_poison_back(self) -> None:
        """A poison that is still there was taken by nobody: no loss was computed after it."""
        if (poison := self.folder / "poison").exists():
            poison.unlink()
            last = next(fired for fired in reversed(self.fired) if fired.fault.kind in ("memory", *POISONS))
            last.done, last.note = False, "nobody trained any more"

    def _end_leftovers(self) -> None:
        """Whatever of the run still lives once its command is done is told, and ended."""
        deadline = time.monotonic() + LINGER_SECONDS
        while (alive := list(filter(processes.lingers, self.seen.values()))) and time.monotonic() < deadline:
            time.sleep(0.2)
        for process in alive:
            self.leftovers.append(f"stage {self.stage}: {process.pid} {processes.title(process.pid)[:200]}")
            processes.send(process, processes.signal.SIGKILL)
        self.seen = {}

    def to_dict(self) -> dict[str, Any]:
        """What happened, for the result: faults with their moments."""
        return {
            "plan": asdict(self.plan),
            "fired": [asdict(fired) for fired in self.fired],
            "starts": self.starts,
            "interventions": self.interventions,
            "leftovers": self.leftovers,
            "seconds": round(self.seconds, 1),
        }


class Mark:
    """Progress since the fault before, or since the stage began."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.set()

    def set(self) -> None:
        """Count from here."""
        self.events, self.step = len(self.life.told.events), self.life.step()
        self.workers = {key for key, process in self.life.seen.items() if process.name == "worker"}

    def reached(self, moment: Moment) -> bool:
        """Has that moment come?"""
        new = self.life.told.events[self.events :]
        steps = self.life.step() - self.step
        if moment.what == "step" or (steps >= OVERDUE_STEPS and moment.what != "branch"):
            return steps >= moment.count
        if moment.what == "recovery":  # workers came up anew and have not begun, or the run went on unharmed
            workers = {key for key, process in self.life.seen.items() if process.name == "worker"}
            return workers > self.workers or any(event["event"] == "step" for event in new[20:])
        count = sum(event["event"] == moment.what for event in new)
        return count >= max(1, moment.count)


def _on_our_clock(event: dict[str, Any]) -> dict[str, Any]:
    """Tell an event's time by our own clock: it was read at once, so what it is behind is how far its clock is."""
    behind = round((time.time() - event["time"]) / CLOCK_BACK_SECONDS)
    return event | {"time": event["time"] + behind * CLOCK_BACK_SECONDS}


def arguments(setting: Setting) -> tuple[str, str]:
    """What a command is started with besides the recipe."""
    return f"engine.workers={setting.workers}", f"engine.zero_stage={setting.zero_stage}"
