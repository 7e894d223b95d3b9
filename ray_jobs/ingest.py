"""Who takes documents in: a task beside training, or `headrace ingest` alone?

`ingest_task` is the ingest that runs beside training, as a Ray task that starts again by itself when it is killed.
"""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import ray

from cluster.buckets import flat, may_pass
from cluster.session import connect
from cluster.storage import Store
from data_ops.lake import Lake
from data_ops.pipeline import ingest
from data_ops.windows import IngestSettings
from ray_jobs.config import Config
from ray_jobs.lease import LEASE_SECONDS
from ray_jobs.open_store import open_store
from ray_jobs.quiet import at_work, ingesting
from ray_jobs.signals import stop_on_signal

NETWORK_SECONDS = 600.0  # how long ingest begins anew without a window before a network is taken for lost
LONGEST_PAUSE_SECONDS = 30.0
Report = Callable[[dict[str, Any]], None]


@ray.remote(num_cpus=0, max_retries=-1)
def ingest_task(store: str, settings: IngestSettings, tokenizer_json: str, follow: bool, board: Any) -> int:
    """Ingest beside training; reports windows to the board and stops when the driver wishes so."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"

    def report(event: dict[str, Any]) -> None:
        ray.get(board.post.remote([event]))

    def stop() -> bool:
        return bool(ray.get(board.stopping.remote()))

    lake = Lake(Store.open(store))
    works = partial(at_work, lake.store, wait_seconds=LEASE_SECONDS)

    def take_in(report: Report) -> int:
        return ingest(lake, settings, tokenizer_json, follow=follow, report=report, stop=stop, works=works)

    return patiently(take_in, report, stop)


def patiently(take_in: Callable[[Report], int], report: Report, stop: Callable[[], bool]) -> int:
    """Take in, and begin anew from what the lake holds where a network failed, as after a kill; returns its answer.

    Raises what is no network's error at once, and a network's after NETWORK_SECONDS in which no window came.
    """
    failing_since, pause = None, 1.0

    def heard(event: dict[str, Any]) -> None:
        nonlocal failing_since, pause
        if event["event"] == "window":
            failing_since, pause = None, 1.0
        report(event)

    while True:
        began = time.monotonic()
        try:
            return take_in(heard)
        except Exception as error:  # Ray, Delta and pyarrow tell a network's error by classes of their own
            if not may_pass(error):
                raise
            now = time.monotonic()
            if failing_since is None or now - began >= NETWORK_SECONDS:  # it went well for long, with nothing to read
                failing_since, pause = now, 1.0
                text = f"ingest waits for the network and begins anew ({flat(error)})"
                report({"event": "warning", "text": text})
            elif now - failing_since >= NETWORK_SECONDS:
                raise
        ends = time.monotonic() + pause
        while time.monotonic() < ends and not stop():
            time.sleep(1.0)
        pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)


def ingest_only(config: Config, display: Any, *, follow: bool) -> dict[str, Any]:
    """`headrace ingest`: take documents in here, until the sources are drained or a signal says stop."""
    counts: dict[str, int] = dict.fromkeys(("windows", "read", "kept", "held_out", "quarantined"), 0)

    def report(event: dict[str, Any]) -> None:
        if event["event"] == "window":
            display.window(event)
            counts["windows"] += 1
            for name in ("read", "kept", "held_out", "quarantined"):
                counts[name] += event[name]
        else:
            display.note(event["text"])

    store = Store.open(config.store)
    here, works = ingesting(store), partial(at_work, store, wait_seconds=LEASE_SECONDS)
    cluster = connect(config.cluster, preload=("ray.data", "data_ops.pipeline"))
    with here as name, cluster, stop_on_signal() as stopped:  # in this order: Ray sets handlers of its own
        opened, stop = open_store(config, stopped.is_set, follow=follow), stopped.is_set
        settings = replace(opened.settings, owner=name)
        last = ingest(
            opened.lake, settings, opened.tokenizer_json, follow=follow, report=report, stop=stop, works=works
        )
    return {**counts, "last_window": last, "stopped": stopped.is_set()}
