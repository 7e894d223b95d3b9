"""Who answers the ranks while they train, and decides when they are killed?

One `Desk` an attempt, in the benchmark's process: a fresh Feed and Coordinator of the product behind a local socket.
From a step on it takes no receipts, so that the last commit lies a few steps before the kill and work is lost and
done again.
"""

import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

from benchmarks.matrix.rank import Job, run_rank
from ray_jobs.training.actors.commit_coordinator import Receipt
from ray_jobs.training.actors.coordinator import Coordinator
from ray_jobs.training.actors.feed import Feed

LOST_STEPS = 3  # at least so many are trained behind the last commit before a kill
SECONDS = 600.0  # how long an attempt may take, on a machine that others use too


class Desk:
    """Feed and coordinator of one attempt, answering over a socket until it is closed."""

    def __init__(self, feed: Feed, coordinator: Coordinator, hold_at: int) -> None:
        self.objects = {"feed": feed, "coordinator": coordinator, "desk": self}
        self.locks: dict[str, AbstractContextManager[Any]] = {"feed": nullcontext(), "desk": nullcontext()}
        self.locks["coordinator"] = threading.Lock()  # it is an actor of one thread
        self.last_commit = hold_at - LOST_STEPS if hold_at else None
        self.held, self.over = threading.Semaphore(0), threading.Event()
        self.folder = tempfile.TemporaryDirectory(prefix="headrace-desk-")
        self.listener = Listener(f"{self.folder.name}/socket", "AF_UNIX", backlog=16)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        """Where it listens."""
        return str(self.listener.address)

    def reached(self) -> None:
        """A rank has trained the step behind which all are to be killed; it gets no answer."""
        self.held.release()
        self.over.wait()

    def close(self) -> None:
        """Answer nobody any more."""
        self.over.set()
        self.listener.close()
        self.folder.cleanup()

    def _accept(self) -> None:
        while True:
            try:
                connection = self.listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        with suppress(EOFError, OSError):  # the rank has ended, or was killed
            while True:
                name, method, arguments = connection.recv()
                if method == "receipt" and self._is_late(arguments[-1]):
                    self.over.wait()
                    return
                connection.send(self._call(name, method, arguments))

    def _is_late(self, receipt: Receipt) -> bool:
        return self.last_commit is not None and receipt.state.position.step > self.last_commit

    def _call(self, name: str, method: str, arguments: Sequence[Any]) -> tuple[Exception | None, Any]:
        try:
            with self.locks[name]:
                return None, getattr(self.objects[name], method)(*arguments)
        except Exception as error:  # noqa: BLE001 - it is raised again in the rank
            return error, None


def live(feed: Feed, coordinator: Coordinator, job: Job, hold_at: int) -> None:
    """Run all ranks of one attempt: to the end or, with hold_at, until they are killed behind that global step."""
    desk = Desk(feed, coordinator, hold_at)
    context = multiprocessing.get_context("forkserver")
    started = [
        context.Process(target=run_rank, args=(rank, job._replace(desk=desk.address, hold_at=hold_at)), daemon=True)
        for rank in range(job.world)
    ]
    for process in started:
        process.start()
    try:
        if hold_at:
            _wait(desk, started)
        else:
            for process in started:
                process.join(SECONDS)
            if codes := [p.exitcode for p in started if p.exitcode != 0]:
                raise RuntimeError(f"ranks ended with {codes} in {job.notes}; see what they said above")
    finally:
        for process in started:  # all of them before one is waited for, so that none hears of another's end
            if process.pid and process.is_alive():
                os.kill(process.pid, signal.SIGKILL)
        for process in started:
            process.join()
        desk.close()


def _wait(desk: Desk, started: Sequence[Any]) -> None:
    """Wait until every rank is held."""
    waited_for = len(started)
    for _ in range(int(SECONDS * 10)):
        waited_for -= desk.held.acquire(timeout=0.1)
        if not waited_for:
            return
        if ended := [p.exitcode for p in started if p.exitcode is not None]:
            raise RuntimeError(f"ranks ended with {ended} before they were to be killed")
    raise TimeoutError(f"the ranks did not come to their step within {SECONDS} s")


def use_forkserver(root: Path) -> None:
    """Let ranks be forked from one process that has imported everything; before the first one is started."""
    os.environ["PYTHONPATH"] = str(root)
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    multiprocessing.get_context("forkserver").set_forkserver_preload(["benchmarks.matrix.rank", "peft"])
