"""How do Ray's workers start without importing anything? By a fork of one process that has imported everything.

    raylet -> cluster/runtime/fork_worker.py, as every worker's first program -> this server -> fork -> Ray's
    default_worker.py

A run needs about fifteen such processes, and most of what each did was the same imports (ray, pandas, torch,
DeepSpeed), 2 to 6 CPU seconds a process: a small run took 88 CPU seconds and now takes 35. The way is that of
multiprocessing's forkserver and of Android's zygote: no thread of Python's, nothing of Ray or CUDA begun, only modules
in memory, which the workers share. It serves the local Ray of one driver and ends with it. Without it (it died, another
job, a runtime environment) workers start as Ray starts them.
"""

import array
import gc
import json
import logging
import os
import random
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TypedDict

from cluster.runtime.fork_worker import FIRST_JOB, SOCKET

logger = logging.getLogger(__name__)

OOM_SCORE = "1000"  # what Ray gives its workers, so that they are killed before its daemons
LARGEST = 2**20  # bytes of a request: arguments and environment


class ForkServer:
    """The driver's side: starts the server, and ends it with what it forked."""

    def __init__(self, modules: Sequence[str]) -> None:
        """Start a server that imports `modules`, and let the Ray that this process starts next fork its workers there.

        Workers that come before it is done wait for it.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="headrace-fork-"))  # of this user alone: who reaches it runs code
        address = str(self.folder / "socket")
        known = {"RAY_JOB_ID": FIRST_JOB, "RAY_RAYLET_PID": str(os.getpid())}  # read once, at import; see below
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
            (self.folder / "stderr").open("w") as said,
        ):
            listener.bind(address)
            listener.listen(256)
            number = listener.fileno()
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "cluster.runtime.forkserver", str(number), *modules],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=said,
                pass_fds=[number],
                start_new_session=True,  # ^C in a terminal is the driver's affair
                env=os.environ | known,
            )
        os.environ[SOCKET] = address
        from cluster.runtime.ray_internals import start_workers_by

        self.put_back = partial(start_workers_by, start_workers_by(str(Path(__file__).with_name("fork_worker.py"))))

    def close(self) -> None:
        """End the server and all of its workers that still live."""
        self.put_back()
        os.environ.pop(SOCKET, None)
        assert self.process.stdin is not None
        self.process.stdin.close()
        if self.process.wait(timeout=30) != 0 and self.folder.exists():
            said = (self.folder / "stderr").read_text(errors="replace").strip().splitlines()
            logger.warning("workers were started one by one: the fork server ended (%s)", said[-1:] or "killed")
            shutil.rmtree(self.folder)


class Launch(TypedDict):
    """What a launcher asks for."""

    folder: str
    environment: dict[str, str]
    argv: list[str]


class Nursery:
    """The server's side: forks, and passes on how each worker ends.

    A worker of Ray's watches its raylet's process id, which nobody knows yet when Ray is imported here. It gets the
    driver's: a local Ray ends with its driver, and a raylet that dies closes its workers' sockets anyway.
    """

    def __init__(self, listener: socket.socket) -> None:
        self.listener, self.selector = listener, selectors.DefaultSelector()
        self.selector.register(listener, selectors.EVENT_READ, self._accept)
        self.selector.register(sys.stdin, selectors.EVENT_READ, self._end)  # closed by the driver, or with it
        self.workers: dict[int, tuple[int, socket.socket]] = {}  # process id: its pidfd, the launcher's connection
        self.over = False

    def serve(self) -> str | None:
        """Fork until the driver has gone (None); in every fork: return the program that it is to run."""
        while not self.over:
            for key, _ in self.selector.select():
                if (program := key.data(key.fileobj)) is not None:
                    return str(program)
        return None

    def _accept(self, listener: socket.socket) -> str | None:
        connection, _ = listener.accept()
        try:
            data, sent, _, _ = connection.recvmsg(LARGEST, socket.CMSG_LEN(3 * 4))
            files = array.array("i", sent[0][2])
            asked: Launch = json.loads(data)
        except (OSError, IndexError, ValueError):  # a launcher that was killed; it is not waiting any more
            connection.close()
            return None
        worker = os.fork()
        if worker == 0:
            return self._become(asked, list(files), connection)
        for number in files:
            os.close(number)
        with suppress(OSError):
            os.setpgid(worker, worker)  # here too: whoever is first, its group exists before it can be killed
        pidfd = os.pidfd_open(worker)
        self.workers[worker] = pidfd, connection
        self.selector.register(pidfd, selectors.EVENT_READ, lambda _: self._reap(worker))
        self.selector.register(connection, selectors.EVENT_READ, lambda _: self._abandon(worker))
        with suppress(OSError):
            connection.send(b"f")
        return None

    def _reap(self, worker: int) -> None:
        """Tell a worker's launcher how it ended."""
        _, status = os.waitpid(worker, 0)
        pidfd, connection = self.workers.pop(worker)
        for watched in (pidfd, connection):
            with suppress(KeyError):
                self.selector.unregister(watched)
        with suppress(OSError):
            connection.send(str(os.waitstatus_to_exitcode(status) & 255).encode())
        connection.close()
        os.close(pidfd)

    def _abandon(self, worker: int) -> None:
        """Kill a worker whose launcher was killed: that is how a raylet ends what does not start."""
        if worker not in self.workers:  # it ended in the same moment and is reaped
            return
        self.selector.unregister(self.workers[worker][1])
        with suppress(ProcessLookupError):
            os.killpg(worker, signal.SIGKILL)

    def _end(self, _: object) -> None:
        self.over = True
        shutil.rmtree(Path(self.listener.getsockname()).parent, ignore_errors=True)
        for worker in self.workers:
            with suppress(ProcessLookupError):
                os.killpg(worker, signal.SIGKILL)

    def _become(self, asked: Launch, files: list[int], connection: socket.socket) -> str:
        """Turn a fork into what the launcher asked for, as if it had been started so."""
        for _, held in self.workers.values():
            held.close()
        for pidfd, _ in self.workers.values():
            os.close(pidfd)
        self.selector.close()
        self.listener.close()
        connection.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.setpgid(0, 0)
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
        os.chdir(asked["folder"])
        os.environ.clear()
        os.environ.update(asked["environment"] | {"RAY_JOB_ID": FIRST_JOB})
        sys.argv = asked["argv"]
        random.seed()
        if numpy := sys.modules.get("numpy"):
            numpy.random.seed()
        return str(asked["argv"][0])


def import_modules(modules: Sequence[str]) -> None:
    """Import what workers share; RuntimeError if that has begun Ray's generator of ids."""
    from cluster.runtime.ray_internals import class_ids_from_kernel, random_id

    with class_ids_from_kernel():
        for name in modules:
            import_module(name)
    drawn = set()
    for _ in range(2):
        reads, writes = os.pipe()
        if os.fork() == 0:
            os.write(writes, random_id())
            os._exit(0)
        os.wait()
        drawn.add(os.read(reads, 64))
        os.close(reads)
        os.close(writes)
    if len(drawn) == 1:
        raise RuntimeError(f"two forks draw the same id of Ray's after the import of {', '.join(modules)}")


def main(number: str, *modules: str) -> str | None:
    """Import, then serve; see Nursery.serve."""
    import_modules(modules)
    gc.collect()
    gc.freeze()  # what is here is shared with every fork as long as nobody writes to it, the collector included
    return Nursery(socket.socket(fileno=int(number))).serve()


if __name__ == "__main__":
    program = main(*sys.argv[1:])
    if program is not None:  # out here nothing of the server is left on the stack
        runpy.run_path(program, run_name="__main__")
