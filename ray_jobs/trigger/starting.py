"""How is a run begun and watched: as a process of this machine, or as a job of a cluster?

A process stops when its trigger has died: it commits, and the next trigger goes on.
A job has the id of its start, so the cluster itself takes none twice, and a trigger that comes later finds it.
"""

import os
import subprocess
import sys
import tempfile
import time
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ray_jobs.commands.submit import CONFIG, Jobs, written_config
from ray_jobs.config.schema import Config
from ray_jobs.driver.signals import STOP_WITH
from ray_jobs.trigger.decision import StartedRun

POLL_S = 0.2
JOB_POLL_S = 5.0


class Starter(Protocol):
    """What begins a run and waits for its end."""

    @abstractmethod
    def knows(self, start: StartedRun) -> bool:
        """Is it known that this start was made, though nobody here has made it?"""
        ...

    @abstractmethod
    def carry(self, start: StartedRun, stopped: Callable[[], bool]) -> int | None:
        """Begin what is not begun, and wait: the exit code, or None if it goes on when we are stopped.

        OSError where it could not be begun.
        """
        ...


class ProcessStarter(Starter):
    """Runs are processes of this machine: `python -m ray_jobs run`."""

    def __init__(self, config: Config, command: tuple[str, ...] = (sys.executable, "-m", "ray_jobs", "run")) -> None:
        self._config, self._command = config, command

    def knows(self, start: StartedRun) -> bool:
        """Nobody here knows a process of another trigger; the lease of the run tells."""
        return False

    def carry(self, start: StartedRun, stopped: Callable[[], bool]) -> int | None:
        """Run, and pass a stop on."""
        with tempfile.TemporaryDirectory(prefix="headrace-trigger-") as folder:
            place = Path(folder, CONFIG)
            place.write_text(written_config(self._config), encoding="utf-8")
            process = subprocess.Popen(
                [*self._command, "-c", str(place)],
                stdout=sys.stderr.fileno(),
                start_new_session=True,  # ^C is for us, and we tell it once: twice would stop it at once
                env={**os.environ, STOP_WITH: str(os.getpid())},
            )
            told = False
            while (code := process.poll()) is None:
                if stopped() and not told:
                    process.terminate()
                    told = True
                time.sleep(POLL_S)
            return code if code >= 0 else 128 - code


class JobStarter(Starter):
    """Runs are jobs of a Ray cluster, as `headrace submit` makes them."""

    def __init__(self, config: Config, jobs: Jobs, python: str) -> None:
        self._config, self._jobs, self._python = config, jobs, python

    def knows(self, start: StartedRun) -> bool:
        """Ask the cluster."""
        return self._jobs.code(start.job) is not None

    def carry(self, start: StartedRun, stopped: Callable[[], bool]) -> int | None:
        """Submit under the id of the start, which the cluster takes once; a stop leaves the job running."""
        if not self.knows(start):
            self._jobs.start(start.job, self._config, self._python)
        looked = -JOB_POLL_S
        while not stopped():
            if time.monotonic() - looked >= JOB_POLL_S:
                looked = time.monotonic()
                state = self._jobs.code(start.job)
                if state is None or state.ended:
                    return 1 if state is None else state.code
            time.sleep(POLL_S)
        return None
