"""How do several processes answer at one port? They accept from one queue of connections, which their parent holds.

A replica that dies takes the connections with it that it had accepted; those that wait in the queue are answered by the
others, also while all of them are away. (With a queue for each, SO_REUSEPORT, those that wait for the dead one would be
lost too.) The parent loads nothing and answers nothing; it starts a dead replica again.
"""

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import NamedTuple

from ray_jobs.outcome import ConfigError

SPAWN = multiprocessing.get_context("spawn")
LIVED_S = 30.0  # who dies sooner is started again behind a pause that doubles
MOST_PAUSE_S = 60.0


class ReplicaPlace(NamedTuple):
    """Which replica a process is: its number from 0, of how many, and the folder of their private sockets."""

    number: int
    total: int
    folder: str

    def door_of(self, number: int) -> Path:
        """Where a replica listens to the others, from when on it answers."""
        return Path(self.folder) / f"{number}.sock"

    @property
    def door(self) -> Path:
        """Where this one does."""
        return self.door_of(self.number)


Work = Callable[[ReplicaPlace, socket.socket], None]  # answers until a signal


class Replica:
    """A process that is kept alive."""

    def __init__(self, place: ReplicaPlace, listener: socket.socket, work: Work) -> None:
        self.place, self._listener, self._work = place, listener, work
        self._pause_s, self._starts_s = 0.0, 0.0
        self.start()

    def start(self) -> None:
        """Start it."""
        self.place.door.unlink(missing_ok=True)  # of one that died
        self._began_s = time.monotonic()
        self.process: SpawnProcess = SPAWN.Process(
            target=_run, args=(self._work, self.place, self._listener), name=f"replica-{self.place.number}"
        )
        self.process.start()

    def wait_until_ready(self) -> None:
        """Wait until it answers; ConfigError where it ends before."""
        while not self.place.door.exists():
            time.sleep(0.05)
            if not self.process.is_alive():
                raise ConfigError(
                    f"replica {self.place.number} ended with code {self.process.exitcode} before it could answer; the "
                    "lines above say why"
                )

    def look_after(self, tell: Callable[[str], None]) -> None:
        """Start it again if it has died, at once if it had lived for a while."""
        now = time.monotonic()
        if self.process.is_alive():
            return
        if not self._starts_s:
            self._pause_s = 0.0 if now - self._began_s > LIVED_S else min(max(1.0, 2 * self._pause_s), MOST_PAUSE_S)
            self._starts_s = now + self._pause_s
            tell(
                f"warning    replica {self.place.number} died (code {self.process.exitcode}); "
                f"it starts again in {self._pause_s:.0f} s"
            )
        if now >= self._starts_s:
            self._starts_s = 0.0
            self.start()


def keep_replicas(
    count: int, folder: str, listener: socket.socket, work: Work, tell: Callable[[str], None], grace_s: float
) -> int:
    """Keep so many replicas answering until a signal, which is returned; then each has `grace_s` to end its answers."""
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: stopping.append(number))
    replicas = [Replica(ReplicaPlace(0, count, folder), listener, work)]
    try:
        replicas[0].wait_until_ready()
        replicas += [Replica(ReplicaPlace(number, count, folder), listener, work) for number in range(1, count)]
        while not stopping:
            connection.wait([one.process.sentinel for one in replicas if one.process.is_alive()], timeout=0.2)
            for one in replicas:
                one.look_after(tell)
    finally:
        listener.close()
        for one in replicas:
            one.process.terminate()
        for one in replicas:
            one.process.join(grace_s)
            one.process.kill()
    return stopping[0]


def _run(work: Work, place: ReplicaPlace, listener: socket.socket) -> None:
    """What a replica's process does."""
    parent = multiprocessing.parent_process()
    if parent is not None:  # a parent that was killed cannot end us
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    work(place, listener)


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
