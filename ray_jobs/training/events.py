"""What happens in a run: the lines of metrics.jsonl?"""

import json
from typing import Any

from cluster.storage.store import Store
from ray_jobs.store.paths import run_path

Event = dict[str, Any]


def final_steps(events: list[Event]) -> list[Event]:
    """The step events that are in the weights: of a step trained again after a restart, the last one."""
    steps = {event["step"]: event for event in events if event["event"] == "step" and not event["branch"]}
    return [steps[n] for n in sorted(steps)]


def read_events(store: Store, run: str) -> list[Event]:
    """All events of a run, over all its drivers; a line torn by a kill is passed over."""
    path = run_path(run, "metrics.jsonl")
    raw = store.read(path).decode() if store.exists(path) else ""
    return [json.loads(line) for line in raw.splitlines() if line.startswith("{") and line.endswith("}")]
