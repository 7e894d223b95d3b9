"""What does `headrace report` do? It writes a run's report again, from what is kept."""

import json
from typing import Any

from cluster.storage.store import Store
from data_ops.lake.lake import Lake
from ray_jobs.config.schema import Config
from ray_jobs.outcome import ConfigError
from ray_jobs.report.gather import gather
from ray_jobs.report.page import render_run
from ray_jobs.store.paths import run_path
from ray_jobs.training.events import read_events


def rewrite_report(config: Config) -> str:
    """Draw the report again from the run's own files; returns its place."""
    store, run = Store.open(config.store), config.name
    summary = _json(store, run_path(run, "summary.json"))
    if summary is None:
        raise ConfigError(f"run {run} in {config.store} has no summary yet; it is written when the run ends")
    name = f"registry/decisions/{(summary['checkpoint'] or 'none').replace('/', '-')}.json"
    judged = _json(store, name)
    data = gather(config, Lake(store), read_events(store, run), summary, judged["decision"] if judged else None)
    place = run_path(run, "report.html")
    store.write(place, render_run(data).encode())
    return f"{config.store}/{place}"


def _json(store: Store, path: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(store.read(path))
    except FileNotFoundError:
        return None
    return found
