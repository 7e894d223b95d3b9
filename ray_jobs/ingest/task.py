"""Who takes documents in: a task beside training, or `headrace ingest` alone?

`ingest_task` is the ingest that runs beside training, as a Ray task that starts again by itself when it is killed.
"""

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import ray

from cluster.runtime.actors import Handle
from cluster.storage.retry import NETWORK_SECONDS, is_transient, one_line
from cluster.storage.store import Store
from data_ops.ingest.config import IngestSettings
from data_ops.ingest.context import IngestContext
from data_ops.ingest.events import Report, Warned, WindowDone
from data_ops.ingest.pipeline import ingest
from data_ops.lake.lake import Lake
from ray_jobs.store.access import at_work
from ray_jobs.store.lease import LEASE_SECONDS

LONGEST_PAUSE_SECONDS = 30.0


class Listener(Protocol):
    """Who hears of windows beside training, and says when to stop: the run's coordinator."""

    def post(self, events: Sequence[WindowDone | Warned]) -> None:
        """Take events."""

    def stopping(self) -> bool:
        """Is the end asked for?"""


@ray.remote(num_cpus=0, max_retries=-1)
def ingest_task(
    store: str, settings: IngestSettings, tokenizer_json: str, follow: bool, listener: Handle[Listener]
) -> int:
    """Ingest beside training; reports windows to the listener and stops when it says so."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"

    def report(event: WindowDone | Warned) -> None:
        listener.call(Listener.post, [event]).get()

    def stop() -> bool:
        return listener.call(Listener.stopping).get()

    lake = Lake(Store.open(store))
    is_alive = partial(at_work, lake.store, wait_seconds=LEASE_SECONDS)

    def take_in(report: Report) -> int:
        context = IngestContext(lake, settings, follow=follow, report=report, stop=stop, is_alive=is_alive)
        return ingest(context, tokenizer_json)

    return retry_on_network_loss(take_in, report, stop)


def retry_on_network_loss(take_in: Callable[[Report], int], report: Report, stop: Callable[[], bool]) -> int:
    """Take in, and begin anew from what the lake holds where a network failed, as after a kill; returns its answer.

    Raises what is no network's error at once, and a network's after NETWORK_SECONDS in which no window came.
    """
    failing_since, pause = None, 1.0

    def heard(event: WindowDone | Warned) -> None:
        nonlocal failing_since, pause
        if isinstance(event, WindowDone):
            failing_since, pause = None, 1.0
        report(event)

    while True:
        began = time.monotonic()
        try:
            return take_in(heard)
        except Exception as error:  # Ray, Delta and pyarrow tell a network's error by classes of their own
            if not is_transient(error):
                raise
            now = time.monotonic()
            if failing_since is None or now - began >= NETWORK_SECONDS:  # it went well for long, with nothing to read
                failing_since, pause = now, 1.0
                text = f"ingest waits for the network and begins anew ({one_line(error)})"
                report(Warned(text=text))
            elif now - failing_since >= NETWORK_SECONDS:
                raise
        ends = time.monotonic() + pause
        while time.monotonic() < ends and not stop():
            time.sleep(1.0)
        pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)
