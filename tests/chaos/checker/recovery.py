"""How long until it trained again after a fault, where did the time go, and how many steps had to be done again?

From the run's events and what the supervisor saw. Parts of a recovery, as far as they occur: `end` until the driver was
gone, `process` until its successor's Ray is there, `ray` until worker processes are there, `restore` until they are at
their position, `first_step` until the first step is done.
"""

import itertools
from typing import Any

from tests.chaos.life import Fired, Life
from tests.chaos.schedule import WHOLE

PARTS = ("end", "process", "ray", "restore", "first_step")
Event = dict[str, Any]


def recoveries(life: Life) -> list[dict[str, Any]]:
    """One entry for every fault that was brought about, in order."""
    done = [fired for fired in life.fired if fired.done]
    return [_measure(life, fired, done[n + 1] if n + 1 < len(done) else None) for n, fired in enumerate(done)]


def _measure(life: Life, fired: Fired, following: Fired | None) -> dict[str, Any]:
    since, *after = life.stages_began[fired.stage : fired.stage + 2]
    until = min(after + ([following.at] if following else []), default=float("inf"))
    steps = [e for e in life.told.events if e["event"] == "step"]
    started = [e for e in life.told.events if e["event"] == "started" and fired.at < e["time"] < until]
    entry: dict[str, Any] = {
        "kind": fired.fault.kind,
        "moment": fired.fault.moment.what,
        "stage": fired.stage,
        "at": round(fired.at, 3),
        "note": fired.note,
        "restarted": bool(started),
        "steps_lost": 0,
        "seconds": None,  # None: another fault or the end came before the next step
        "parts": {},
    }
    before = [e for e in steps if since < e["time"] <= fired.at]
    newest = max(before, key=lambda e: e["time"]) if before else {"step": 0}
    entry["branch"] = bool(newest.get("branch"))
    if not started or not (before or fired.fault.kind in WHOLE):  # the group's first start is no recovery of it
        entry["restarted"] = False
        entry["seconds"] = _pause(steps, fired.at, until) if before else None
        return entry
    begun = started[-1]
    # Workers, or a command, that had failed already took their steps with them: these are not lost by this fault.
    ends = [e["time"] for e in life.told.events if e["event"] == "fault"]
    ends += [time for time, what, _ in life.sightings if what == "exit"]
    lost_before = bool(before) and any(newest["time"] < time <= fired.at for time in ends)
    entry["steps_lost"] = 0 if lost_before else max(0, newest["step"] - begun["step"])
    first = next((e["time"] for e in steps if begun["time"] < e["time"] < until), None)
    if first is not None:
        entry["seconds"] = round(first - fired.at, 2)
        entry["parts"] = _parts(life, fired.at, begun["time"], first)
    return entry


def _pause(steps: list[Event], at: float, until: float) -> float | None:
    """The longest wait for a step that a fault may have caused, where no worker was started anew."""
    before = max((e["time"] for e in steps if e["time"] <= at), default=at)
    times = [before, *sorted(e["time"] for e in steps if at < e["time"] < min(until, at + 20))]
    pauses = [b - max(a, at) for a, b in itertools.pairwise(times)]
    return round(max(pauses), 2) if pauses else None


def _parts(life: Life, at: float, started: float, first: float) -> dict[str, float]:
    """Where the time of a recovery went; the parts add up to it."""

    def last(what: str) -> float | None:
        return max((time for time, name, _ in life.sightings if name == what and at < time < started), default=None)

    moments = [("end", last("exit")), ("process", last("raylet")), ("ray", last("worker"))]
    found, before = {}, at
    for name, moment in [*moments, ("restore", started), ("first_step", first)]:
        if moment is not None and moment >= before:
            found[name] = round(moment - before, 2)
            before = moment
    return found
