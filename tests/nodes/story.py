"""What happens to one run on a cluster, moment by moment: what we do, what Ray says, what the run tells?

A `Story` starts `headrace run` on the first machine and looks four times a second: at the run's events, at what Ray's
head says of its nodes, and at which node has which of the run's processes. Every change is a moment with its time; a
scene waits for moments and acts. A wait that is in vain ends the story.
"""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.life import RUN, Told
from tests.nodes.raylets import Cluster

LOOK_SECONDS = 0.25
KINDS = ("worker", "coordinator", "feed", "shard", "seen", "ingest", "controller")
SHOWN = ("started", "fault", "warning", "commit", "branch")
Event = dict[str, Any]


class StoryError(AssertionError):
    """The story did not go on as it should; the text holds what was seen."""


@dataclass(frozen=True)
class Moment:
    """Something that happened: when (seconds since 1970), who says so, and what."""

    time: float
    who: str  # we | Ray | run | machine
    what: str


class Story:
    """One run on a cluster. `moments` is everything that was seen."""

    def __init__(self, cluster: Cluster, folder: Path, recipe: str, *arguments: str) -> None:
        self.cluster, self.folder, self.arguments = cluster, folder, arguments
        (folder / "run.yaml").write_text(recipe)
        self.told = Told(folder / f"lake/runs/{RUN}/metrics.jsonl")
        self.moments: list[Moment] = []
        self.driver: subprocess.Popen[str] | None = None
        self.began = time.time()
        self.heard = self.states = 0  # events and states that are moments already
        self.names: dict[tuple[int, int], str] = {}  # kinds by (pid, started): Ray renames a worker while it starts
        self.places: dict[str, dict[tuple[int, int], str]] = {}  # the run's processes by node
        self.starts = 0

    def start(self) -> None:
        """Start the command, for the first time or again."""
        argv = [sys.executable, "-m", "ray_jobs", "run", "-c", "run.yaml", "--json", *self.arguments]
        self.starts += 1
        with (self.folder / "stderr.txt").open("a") as errors:
            self.driver = self.cluster.run(
                "east", argv, cwd=self.folder, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self.note("we", "start the command" if self.starts == 1 else "start the same command again")

    def act(self, what: str, deed: Callable[..., Any], *arguments: Any) -> float:
        """Do something to the cluster; when."""
        self.look()
        self.note("we", what)
        at = self.moments[-1].time
        deed(*arguments)
        return at

    def wait(self, what: str, happened: Callable[[], bool], seconds: float, ended: bool = False) -> float:
        """Look until it happened, and say when that was seen; StoryError if the run ends before, or time runs out."""
        deadline = time.monotonic() + seconds
        while True:
            self.look()
            if happened():
                return time.time()
            if not ended and self.code is not None:
                raise StoryError(f"the command ended with {self.code} before {what}\n{self.tail()}")
            if time.monotonic() > deadline:
                raise StoryError(f"{what}: not within {seconds:.0f} s\n{self.tail()}")
            time.sleep(LOOK_SECONDS)

    def end(self, seconds: float = 900) -> tuple[int, dict[str, Any]]:
        """Wait for the command's end; its exit code and summary."""
        self.wait("the command ended", lambda: self.code is not None, seconds, ended=True)
        assert self.driver is not None
        out, _ = self.driver.communicate()
        self.look()
        self.note("run", f"ended with exit code {self.code}")
        lines = out.strip().splitlines()
        return self.driver.returncode, json.loads(lines[-1]) if lines else {}

    def close(self) -> None:
        """End the command, if it still runs."""
        if self.driver is not None and self.driver.poll() is None:
            self.driver.kill()
            self.driver.communicate()

    @property
    def code(self) -> int | None:
        """The command's exit code once it ended."""
        return None if self.driver is None else self.driver.poll()

    def events(self, name: str) -> list[Event]:
        """The run's events of a name."""
        return [event for event in self.told.events if event["event"] == name]

    def step(self) -> int:
        """The newest step of the main line told of."""
        return max((e["step"] for e in self.events("step") if not e.get("branch")), default=0)

    def with_(self, kind: str) -> list[str]:
        """The nodes that have such a process of the run now."""
        return sorted(name for name, found in self.places.items() if kind in found.values())

    def look(self) -> None:
        """Take in what is new."""
        self.told.read()
        for event in self.told.events[self.heard :]:
            if event["event"] in SHOWN:
                self.moments.append(Moment(event["time"], "run", _sentence(event)))
        self.heard = len(self.told.events)
        states = list(self.cluster.states)
        for said in states[self.states :]:
            name = next(n.name for n in self.cluster.nodes.values() if n.address == said["address"])
            why = f": {' '.join(said['why'].split())[:200]}" if said["why"] else ""
            self.moments.append(Moment(said["time"], "Ray", f"{name} is {said['state']}{why}"))
        self.states = len(states)
        for name, node in self.cluster.nodes.items():
            now = {}
            for process in node.family():
                key = (process.pid, process.started)
                kind = self.names[key] = process.name or self.names.get(key, "")
                if kind in KINDS:
                    now[key] = kind
            self._compare(name, Counter(self.places.get(name, {}).values()), Counter(now.values()))
            self.places[name] = now

    def _compare(self, name: str, before: Counter[str], now: Counter[str]) -> None:
        for kind in KINDS:
            if now[kind] != before[kind]:
                gone = now[kind] < before[kind]
                what = f"{before[kind]} {kind} gone from {name}" if gone else f"{now[kind]} {kind} on {name}"
                self.note("machine", what if not gone or not now[kind] else f"{now[kind]} {kind} left on {name}")

    def note(self, who: str, what: str) -> None:
        """Remember a moment that is now."""
        self.moments.append(Moment(time.time(), who, what))

    def tail(self, count: int = 40) -> str:
        """The last moments and what the command said on stderr, for a person."""
        said = (self.folder / "stderr.txt").read_text()[-2500:]
        return "\n".join(lines(self.moments[-count:], self.began)) + f"\n{said}"


def lines(moments: Iterable[Moment], zero: float) -> list[str]:
    """Moments as text, with seconds since `zero`; of many commits in a row the first and the last."""
    ordered = sorted(moments, key=lambda m: m.time)
    around = zip([None, *ordered[:-1]], ordered, [*ordered[1:], None], strict=True)
    shown = [m for before, m, after in around if not all(n and n.what.startswith("commit") for n in (before, m, after))]
    return [f"{m.time - zero:7.1f} s  {m.who:<7}  {m.what}" for m in shown]


def _sentence(event: Event) -> str:
    kind = event["event"]
    if kind in ("started", "warning", "fault"):
        return f"{kind}: {event['text']}"[:300]
    return f"{kind} " + (f"at step {event['step']}" if "step" in event else str(event.get("round", "")))
