"""A `headrace serve` in a process of its own."""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import requests

from cluster.storage.store import Store
from tests.support.runs import environment, free_ports

START_S = 300  # importing torch takes seconds, on a busy machine minutes


class ServerProcess:
    """It serves the champion of a store on a port that it finds free."""

    def __init__(self, store: Store, log: Path, *settings: str, options: Sequence[str] = (), **more: str) -> None:
        port = free_ports(1)[0]
        self.url, self.log = f"http://127.0.0.1:{port}", log
        argv = [sys.executable, "-m", "ray_jobs", "serve", f"store={store.uri}", "--port", str(port), *options]
        with log.open("a") as out:
            self.process = subprocess.Popen([*argv, *settings], env=environment() | more, stdout=out, stderr=out)
        deadline = time.monotonic() + START_S
        while not self.health():
            assert self.process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)

    def health(self) -> dict[str, object]:
        """What it says of itself; nothing while it does not answer."""
        try:
            return dict(requests.get(f"{self.url}/health", timeout=30).json())
        except (requests.ConnectionError, requests.Timeout):  # replicas that are loading let a connection wait
            return {}

    def wait_for(self, checkpoint: str) -> None:
        """Wait until new requests go to a checkpoint."""
        deadline = time.monotonic() + START_S
        while self.health().get("checkpoint") != checkpoint:
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def replicas(self) -> list[psutil.Process]:
        """The processes that answer, where there are several."""
        children = psutil.Process(self.process.pid).children()
        return [one for one in children if any("spawn_main" in part for part in one.cmdline())]

    def kill_replica(self) -> None:
        """Kill one of them, as a machine does that runs out of memory."""
        self.replicas()[-1].kill()

    def replicas_are_gone(self) -> bool:
        """Has no process that answered outlived the server?"""
        return not any(psutil.pid_exists(pid) for pid in self._pids)

    def terminate(self) -> int:
        """End it as a supervisor does; its exit code."""
        self._pids = [one.pid for one in self.replicas()]
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)
