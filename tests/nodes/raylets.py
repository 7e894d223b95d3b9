"""How do raylets come up on the machines, and how are they stopped, killed and taken away again?

Each node is a real `ray start --block` in its machine's namespace, with token auth, a folder and an address of its
own. Its processes are those that descend from it.
"""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos import processes
from tests.chaos.processes import Process
from tests.nodes.network import MACHINES, on
from tests.support.runs import environment, wait_until

RAY = str(Path(sys.executable).parent / "ray")
PORT = 6379
UP_SECONDS = 120.0
FOLDER = Path(tempfile.gettempdir()) / "headrace-nodes"  # short: sockets below it have a length limit
STORE_BYTES = 100 << 20
LIGHT = {  # what a raylet of this test does without
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_worker_maximum_startup_concurrency": "4",
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # else SIGTERM to `ray start --block` drains for 30 s first
    "DS_ACCELERATOR": "cpu",
}


@dataclass
class Node:
    """One raylet: its name is MACHINE-NUMBER."""

    name: str
    address: str
    num_cpus: int
    process: subprocess.Popen[bytes] | None = None
    seen: dict[int, Process] = field(default_factory=dict)

    @property
    def machine(self) -> str:
        """Where it runs."""
        return self.name.partition("-")[0]

    def family(self) -> list[Process]:
        """Its processes that live now."""
        found = processes.family(self.process.pid) if self.process else []
        self.seen |= {process.pid: process for process in found}
        return found

    def has(self, name: str) -> bool:
        """Does a process of that name (see processes.NAMES) run on it?"""
        return any(process.name == name for process in self.family())


class Cluster:
    """Raylets on the machines, and what Ray's head says of them. `know` gets what happens, with its time."""

    def __init__(self, num_cpus: Mapping[str, int], extra: Mapping[str, str] | None = None) -> None:
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir(parents=True)
        self.token = FOLDER / "token"
        self.token.touch(mode=0o600)
        self.token.write_text(secrets.token_hex(32))
        self.environment = environment() | LIGHT | dict(extra or {})
        self.environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token)}
        self.nodes = {name: Node(name, _address(name), cpus) for name, cpus in num_cpus.items()}
        self.head = next(iter(self.nodes.values()))
        self.states: list[dict[str, Any]] = []  # what the head said: time, node (its id), address, state, why
        self.watcher: subprocess.Popen[str] | None = None

    @property
    def gcs(self) -> str:
        """Where the head is."""
        return f"{self.head.address}:{PORT}"

    def up(self, *names: str) -> None:
        """Start these nodes (all by default), the head first, and wait until the head knows them as alive."""
        for name in names or tuple(self.nodes):
            node = self.nodes[name]
            self._start(node)
            if node is self.head:
                self._watch()
        for name in names or tuple(self.nodes):
            wait_until(lambda: self.state(name) == "alive", UP_SECONDS, lambda: self.log(name))  # noqa: B023

    def state(self, name: str) -> str:
        """What the head last said of the newest raylet of a node; "" before it said anything."""
        said = [event for event in self.states if event["address"] == self.nodes[name].address]
        newest = said[-1]["node"] if said else ""
        alive = [event["node"] for event in said if event["state"] == "alive"]
        newest = alive[-1] if alive else newest
        return next((event["state"] for event in reversed(said) if event["node"] == newest), "")

    def node_id(self, name: str) -> str:
        """Ray's id of the node's newest raylet."""
        said = [e["node"] for e in self.states if e["address"] == self.nodes[name].address and e["state"] == "alive"]
        return str(said[-1])

    def kill(self, name: str) -> None:
        """End a node as a machine that vanishes: SIGKILL to everything of it at once."""
        node = self.nodes[name]
        for process in node.family():
            processes.send(process, signal.SIGKILL)
        self._reap(node)

    def kill_raylet(self, name: str) -> bool:
        """SIGKILL only the raylet; its workers find out by themselves."""
        return any(processes.send(p, signal.SIGKILL) for p in self.nodes[name].family() if p.name == "raylet")

    def lives(self, name: str) -> bool:
        """Does the node's raylet live?"""
        return self.nodes[name].has("raylet")

    def drain(self, name: str, seconds: float) -> None:
        """Announce its end, as the agent on a spot machine does when it reads the cloud's notice."""
        argv = [sys.executable, "-m", "cluster.launch.spot", "--now", str(seconds), "--address", self.gcs]
        said = self.run(self.nodes[name].machine, [*argv, "--node-id", self.node_id(name)], stderr=subprocess.PIPE)
        _, errors = said.communicate(timeout=60)
        if said.returncode:
            raise RuntimeError(f"{name} was not drained: {errors.decode()[-500:]}")

    def log(self, name: str) -> str:
        """The end of what a node's `ray start` said."""
        return f"{name}: " + (FOLDER / f"{name}.txt").read_text()[-3000:]

    def run(self, machine: str, argv: list[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a command of ours on a machine, with what it takes to enter the cluster."""
        known = {**self.environment, "RAY_ADDRESS": self.gcs}
        return subprocess.Popen([*on(machine), *argv], env=known, **options)

    def down(self) -> list[str]:
        """Stop all nodes, the head last; what would not go and had to be killed."""
        stubborn: list[str] = []
        for node in reversed(self.nodes.values()):
            node.family()
            if node.process and node.process.poll() is None:
                node.process.send_signal(signal.SIGTERM)
        if self.watcher:
            self.watcher.kill()
            self.watcher.wait()
        deadline = time.monotonic() + 30
        for node in self.nodes.values():
            while any(processes.lives(p) for p in node.seen.values()) and time.monotonic() < deadline:
                time.sleep(0.1)
            left = [process for process in node.seen.values() if processes.send(process, signal.SIGKILL)]
            stubborn += [f"{node.name}: {process.name or 'unnamed'} {process.pid}" for process in left]
            self._reap(node)
        return stubborn

    def _start(self, node: Node) -> None:
        self._reap(node)
        where = ["--head", f"--port={PORT}"] if node is self.head else [f"--address={self.gcs}"]
        argv = [RAY, "start", "--block", *where, f"--node-ip-address={node.address}", f"--num-cpus={node.num_cpus}"]
        argv += ["--include-dashboard=false", "--include-log-monitor=false"] if node is self.head else []
        argv += [f"--object-store-memory={STORE_BYTES}", f"--temp-dir={FOLDER / node.name}", "--disable-usage-stats"]
        with (FOLDER / f"{node.name}.txt").open("ab") as log:
            node.process = subprocess.Popen(
                [*on(node.machine), *argv], env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def _watch(self) -> None:
        command = [sys.executable, "-m", "tests.nodes.watcher", self.gcs]
        with (FOLDER / "watcher.txt").open("w") as log:
            self.watcher = self.run(self.head.machine, command, stdout=subprocess.PIPE, stderr=log, text=True)
        threading.Thread(target=self._listen, args=(self.watcher,), daemon=True).start()

    def _listen(self, watcher: subprocess.Popen[str]) -> None:
        assert watcher.stdout is not None
        for line in watcher.stdout:
            with suppress(json.JSONDecodeError):
                self.states.append(json.loads(line))

    def _reap(self, node: Node) -> None:
        if node.process is not None:
            with suppress(subprocess.TimeoutExpired):
                node.process.wait(timeout=20)
            if node.process.poll() is None:
                os.kill(node.process.pid, signal.SIGKILL)
                node.process.wait()
            node.process = None


def _address(name: str) -> str:
    machine, _, number = name.partition("-")
    return MACHINES[machine][int(number) - 1]
