"""Which processes belong to the run under test, and what is each of them?

Everything that descends from its driver, found in /proc. Ray names its processes: an actor is `ray::Feed`, with a
method or without. Nothing outside the run is ever signalled.
"""

import contextlib
import os
import re
import signal
from pathlib import Path
from typing import NamedTuple

NAMES = {
    "worker": r"ray::RayTrainWorker",
    "controller": r"ray::TrainController",
    "feed": r"ray::Feed",
    "coordinator": r"ray::Coordinator",
    "shard": r"ray::Shard",
    "seen": r"ray::Histories",
    "ingest": r"ray::ingest_task",
    "raylet": r"\S*/raylet/raylet",
    "gcs": r"\S*/gcs/gcs_server",
}
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
PATTERNS = {name: re.compile(rf"{pattern}(\W|$)") for name, pattern in NAMES.items()}


class Process(NamedTuple):
    """A process: `started` (clock ticks since boot) tells it from a later one of the same pid."""

    pid: int
    parent: int
    started: int
    name: str  # one of NAMES, "driver" for the driver itself, or ""


def family(driver: int) -> list[Process]:
    """The driver and all its descendants that live now."""
    children: dict[int, list[Process]] = {}
    found: list[Process] = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - every tenth of a second
        if entry.isdigit() and (process := look(int(entry))):
            children.setdefault(process.parent, []).append(process)
            if process.pid == driver:
                found.append(process._replace(name="driver"))
    for process in found:  # grows while we walk
        found += children.get(process.pid, [])
    return found


def look(pid: int) -> Process | None:
    """One process, None if it is gone or a zombie."""
    try:
        state, parent, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        called = title(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    if state in "ZX":
        return None
    name = next((name for name, pattern in PATTERNS.items() if pattern.match(called)), "")
    return Process(pid, int(parent), int(rest[17]), name)


def title(pid: int) -> str:
    """How a process calls itself: its command line, or what Ray made of it."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()


def lives(process: Process) -> bool:
    """Is that very process still there?"""
    now = look(process.pid)
    return now is not None and now.started == process.started


def lingers(process: Process) -> bool:
    """Does it live, and is it none of Ray's agents, which try for a minute to tell a dead head of a dead raylet?"""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return lives(process) and not title(process.pid).startswith(AGENTS)
    return False


def send(process: Process, number: signal.Signals) -> bool:
    """Signal a process; False if it is gone."""
    if not lives(process):
        return False
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return False
    return True
