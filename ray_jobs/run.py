"""What does `headrace run` do, from the first check to the report?

    check -> lease -> Ray -> ingest and train side by side -> judge -> promote -> account -> summary and report

The driver decides nothing about data: it starts things, listens (`ray_jobs.drive`), and writes down. Killed at any
point, the same command goes on from the last committed checkpoint.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from cluster.session import connect
from cluster.storage import Store
from cluster.tracking import redact
from ray_jobs import commit as commits
from ray_jobs.config import Config, ConfigError
from ray_jobs.display import Display
from ray_jobs.lease import Heart, RunIsLiveError, acquire
from ray_jobs.outcome import Outcome
from ray_jobs.quiet import refuse_while_forgetting
from ray_jobs.signals import stop_on_signal

HEAVY = ("torch", "pandas", "numba")  # what `ray_jobs.drive` brings and Ray itself does not
PRELOAD = ("ray_jobs.preload",)  # what workers of a local Ray find in memory when they are forked


class ClusterLostError(RuntimeError):
    """Ray is gone, not the run: try again (exit code 75)."""


def run(config: Config, display: Display, *, follow: bool = False, judged: bool = True) -> Outcome:
    """Run the whole loop until the sources are drained, for ever with follow, or until stopped.

    The configuration was checked (`preflight.check_run`). judged=False only trains: nothing is judged or promoted.
    Raises ConfigError, before a cluster is touched, if another driver was faster.
    """
    store = Store.open(config.store)
    try:
        lease = acquire(store, config.name)
    except RunIsLiveError as error:
        raise ConfigError(str(error)) from None
    heart = Heart(store, lease)
    try:
        refuse_while_forgetting(store)
        store.sweep_asides(commits.run_path(config.name))  # as a half-written file of a round holds text
        public = redact(config.model_dump(mode="json"))
        store.write(commits.run_path(config.name, "config.json"), json.dumps(public, indent=1).encode())
        threading.Thread(target=_load, daemon=True, name="load").start()  # seconds, in which Ray starts
        connected = connect(config.cluster, metrics=config.telemetry.prometheus, preload=PRELOAD)
        with connected as session, stop_on_signal() as stopped:  # in this order: Ray sets handlers of its own
            from ray_jobs.drive import Drive, drive
            from ray_jobs.open_store import open_store
            from ray_jobs.train import Training

            commits.sweep_orphans(store, lease)
            opened = open_store(config, stopped.is_set, follow=follow)
            training = Training(config, opened, lease, session, follow=follow)
            with causes_told("run"):
                return drive(Drive(config, opened, training, heart, stopped, display), judged=judged)
    finally:
        heart.release()


@contextmanager
def causes_told(of: str) -> Iterator[None]:
    """Tell a call of ours that failed (RuntimeError) from a cluster that is gone (ClusterLostError)."""
    from ray.exceptions import RayError, RayTaskError

    from ray_jobs.train import last_line

    try:
        yield
    except RayTaskError as error:
        raise RuntimeError(f"a part of the {of} failed: {last_line(error)}") from error
    except RayError as error:  # ours restart for ever: only a cluster that is gone ends them
        said = str(error).strip().splitlines()[-1]
        raise ClusterLostError(f"the Ray cluster was lost ({said}); the same command goes on") from error


def _load() -> None:
    """Import what takes long. Nothing of Ray's or ours: two threads in one circle of imports see half a module."""
    for name in HEAVY:
        import_module(name)
