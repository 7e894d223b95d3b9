"""What does `headrace report` do? It writes a run's report again from what is kept, also while the run goes on."""

from typing import TypeVar

from cluster.storage.state import read_json
from cluster.storage.store import Store
from data_ops.audit.account import account
from data_ops.lake.lake import Lake
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.config.schema import Config
from ray_jobs.outcome import ConfigError
from ray_jobs.registry.champion import read_decision
from ray_jobs.registry.task_history import task_history
from ray_jobs.report.data import Summary
from ray_jobs.report.freshness import objectives_of
from ray_jobs.report.gather import gather
from ray_jobs.report.page import render_run
from ray_jobs.report.summary import Judged, summarise
from ray_jobs.store.lease import holder
from ray_jobs.store.paths import run_path
from ray_jobs.training.events import CandidateJudged, Event, Started, read_events

Kept = TypeVar("Kept")


def rewrite_report(config: Config) -> str:
    """Draw the report again from the run's own files; returns its place.

    A run that is driven now, or was killed before it could sum up, is summed up from its events and tables.
    """
    store, run = Store.open(config.store), config.name
    lake, events, own = Lake(store), read_events(store, run), _own(store, config)
    is_live = holder(store, run) is not None
    summary = None if is_live else _kept(store, run_path(run, "summary.json"), Summary)
    if summary is None or "checkpoint" not in summary:
        if not events:
            raise ConfigError(f"run {run} in {config.store} has written nothing yet; start it with `headrace run`")
        summary = _summed_up(own, lake, events, is_live)
    last = next((event for event in reversed(events) if isinstance(event, CandidateJudged)), None) if is_live else None
    checkpoint = last.checkpoint if last else None if is_live else summary["checkpoint"]
    decision = read_decision(store, checkpoint) if checkpoint else None
    data = gather(own, lake, events, summary, decision, task_history(store, checkpoint))
    place = run_path(run, "report.html")
    store.write(place, render_run(data).encode())
    return f"{config.store}/{place}"


def _summed_up(config: Config, lake: Lake, events: list[Event], is_live: bool) -> Summary:
    """The summary of a run that has not written one."""
    last = commits.newest_readable(lake.store, config.name)
    workers = next((event.workers for event in reversed(events) if isinstance(event, Started)), 0)
    wanted = objectives_of(config.slo)
    state = Judged(
        None, last, workers, events[-1].time - events[0].time, "running" if is_live else "ended", wanted=wanted
    )
    return summarise(config.name, config.engine, events, lake.windows()[0], account(lake, config.name), state)


def _own(store: Store, config: Config) -> Config:
    """The configuration that the run wrote down, where this version can read it; secrets are not in it."""
    try:
        kept = Config.model_validate(_kept(store, run_path(config.name, "config.json"), dict[str, object]))
    except ValueError:
        return config
    return kept.model_copy(update={"name": config.name, "store": config.store})


def _kept(store: Store, path: str, kind: type[Kept]) -> Kept | None:
    try:
        return read_json(store, path, kind)
    except FileNotFoundError:
        return None
