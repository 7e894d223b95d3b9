"""What can be said about a run afterwards, from the store alone: is it exact, what happened, what is happening?"""

import json
import time
from typing import Any

from cluster.storage import Store
from data_ops.account import Account, account
from data_ops.lake import Lake
from ray_jobs.commit import run_path
from ray_jobs.config import Config, ConfigError
from ray_jobs.display import Display
from ray_jobs.lease import holder
from ray_jobs.report import render
from ray_jobs.story import read_events, tell

POLL_SECONDS = 0.5
RUNS_NAMED = 8


def verify(config: Config) -> Account:
    """Audit the run from the lake alone; ConfigError where there is no lake or no such run."""
    store = Store.open(config.store)
    lake = Lake(store)
    if lake.last_window() < 0 and not store.exists("windows"):
        raise ConfigError(f"store {config.store} holds no lake; run `headrace run` or `headrace ingest` first")
    runs = {path.split("/")[1] for path in store.list("runs") if "@" not in path.split("/")[1]}
    if runs and config.name not in runs and not lake.num_rounds(config.name):
        known = ", ".join(sorted(runs)[:RUNS_NAMED]) + (", ..." if len(runs) > RUNS_NAMED else "")
        raise ConfigError(f"store {config.store} has no run name={config.name}; it has {known}")
    return account(lake, config.name)


def rewrite_report(config: Config) -> str:
    """Draw the report again from the run's own files; returns its place."""
    store, run = Store.open(config.store), config.name
    summary = _json(store, run_path(run, "summary.json"))
    if summary is None:
        raise ConfigError(f"run {run} in {config.store} has no summary yet; it is written when the run ends")
    name = f"registry/decisions/{(summary['checkpoint'] or 'none').replace('/', '-')}.json"
    judged = _json(store, name)
    data = tell(config, Lake(store), read_events(store, run), summary, judged["decision"] if judged else None)
    place = run_path(run, "report.html")
    store.write(place, render(data).encode())
    return f"{config.store}/{place}"


def watch(config: Config) -> None:
    """Show a live run's lines as they come, until nobody drives it any more."""
    store, seen = Store.open(config.store), 0
    with Display() as display:
        while True:
            events = read_events(store, config.name)
            for event in events[seen:]:
                display.event(event)
            seen = len(events)
            if holder(store, config.name) is None:
                display.note(f"nobody drives run {config.name} now")
                return
            time.sleep(POLL_SECONDS)


def _json(store: Store, path: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(store.read(path))
    except FileNotFoundError:
        return None
    return found
