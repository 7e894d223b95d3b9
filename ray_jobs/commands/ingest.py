"""What does `headrace ingest` do? It reads windows without training."""

from dataclasses import replace
from functools import partial
from typing import TypedDict

from cluster.runtime.session import connect
from cluster.storage.store import Store
from data_ops.ingest.context import IngestContext
from data_ops.ingest.events import Warned, WindowDone
from data_ops.ingest.pipeline import ingest
from data_ops.lake.untaken import read_remainders, told_of
from ray_jobs.config.schema import Config
from ray_jobs.driver.signals import stop_on_signal
from ray_jobs.ingest.opening import open_store
from ray_jobs.report.terminal import Display
from ray_jobs.store.access import at_work, shared
from ray_jobs.store.lease import LEASE_SECONDS


class TakenIn(TypedDict):
    """What an ingest took in, and what it left; untaken: by source."""

    windows: int
    read: int
    kept: int
    held_out: int
    quarantined: int
    last_window: int
    stopped: bool
    untaken: dict[str, dict[str, dict[str, dict[str, int]]]]


def ingest_only(config: Config, display: Display, *, follow: bool) -> TakenIn:
    """`headrace ingest`: take documents in here, until the sources are drained or a signal says stop."""
    taken: TakenIn = {
        "windows": 0,
        "read": 0,
        "kept": 0,
        "held_out": 0,
        "quarantined": 0,
        "last_window": -1,
        "stopped": False,
        "untaken": {},
    }

    def report(event: WindowDone | Warned) -> None:
        display.event(event)
        if isinstance(event, WindowDone):
            taken["windows"] += 1
            taken["read"] += event.read
            taken["kept"] += event.kept
            taken["held_out"] += event.held_out
            taken["quarantined"] += event.quarantined

    store = Store.open(config.store)
    here, is_alive = shared(store), partial(at_work, store, wait_seconds=LEASE_SECONDS)
    cluster = connect(config.cluster, preload=("ray.data", "data_ops.ingest.pipeline"))
    with here as name, cluster, stop_on_signal() as stopped:  # in this order: Ray sets handlers of its own
        opened, stop = open_store(config, stopped.is_set, follow=follow), stopped.is_set
        for warning in opened.warnings:
            display.note(warning)
        settings = replace(opened.settings, owner=name)
        context = IngestContext(opened.lake, settings, follow=follow, report=report, stop=stop, is_alive=is_alive)
        last = ingest(context, opened.tokenizer_json)
    for sentence in told_of(store):
        display.note(sentence)
    untaken = {label: remainder.to_dict() for label, remainder in read_remainders(store).items()}
    return {**taken, "last_window": last, "stopped": stopped.is_set(), "untaken": untaken}
