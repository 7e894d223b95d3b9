"""A run without Ray, and a trigger that starts it, for tests that kill processes: `run|trigger -c FILE`.

The run takes the lease, says so, and takes in what there is once the file `go` lies beside the store; SIGTERM stops it.
"""

import os
import sys
import time
from pathlib import Path

from cluster.storage.state import write_json
from cluster.storage.store import Store
from ray_jobs.config.reading import read_config
from ray_jobs.driver.signals import stop_on_signal
from ray_jobs.store.lease import Heart, acquire
from ray_jobs.store.paths import run_path
from ray_jobs.trigger.command import Clock, trigger
from ray_jobs.trigger.starting import ProcessStarter
from tests.data_ops.sources.kafka.test_ingest import take_in


def run(file: str) -> int:
    """Play the run."""
    config = read_config([file])
    store, folder = Store.open(config.store), Path(config.store).parent
    with stop_on_signal() as stopped:
        heart = Heart(store, acquire(store, config.name))
        (folder / f"begun-{os.getpid()}").touch()
        while not (folder / "go").exists() and not stopped.is_set():
            time.sleep(0.05)
        if not stopped.is_set():
            take_in(config)
            write_json(store, run_path(config.name, "summary.json"), {"documents": {"pending": 0}})
        heart.release()
        (folder / f"{'stopped' if stopped.is_set() else 'done'}-{os.getpid()}").touch()
    return 143 if stopped.is_set() else 0


def wait_and_start(file: str) -> int:
    """Be the trigger of such runs."""
    config = read_config([file])
    starter = ProcessStarter(config, (sys.executable, "-m", "tests.ray_jobs.trigger.played_run", "run"))
    with stop_on_signal() as stopped:
        return trigger(config, starter, lambda event: sys.stderr.write(f"{event}\n"), Clock(stopped))


if __name__ == "__main__":
    sys.exit({"run": run, "trigger": wait_and_start}[sys.argv[1]](sys.argv[3]))
