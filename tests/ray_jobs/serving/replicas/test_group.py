"""Do connections find a replica whichever dies, and does none outlive a signal or its parent?"""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ray_jobs.outcome import ConfigError
from ray_jobs.serving.replicas.group import ReplicaPlace, keep_replicas

pytestmark = pytest.mark.slow
SCRIPT = "from tests.ray_jobs.serving.replicas.test_group import keep; keep()"
WAIT_S = 120


def answer_with_pid(place: ReplicaPlace, listener: socket.socket) -> None:
    """A replica's work: tell each who connects its process."""
    place.door.touch()
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(str(os.getpid()).encode())


def fail(place: ReplicaPlace, listener: socket.socket) -> None:
    """A replica's work that cannot begin."""
    sys.exit(2)


def keep() -> None:
    """Keep two replicas at a port that is told on stdout; the folder is the first argument."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    number = keep_replicas(2, sys.argv[1], listener, answer_with_pid, print, 10)
    print(f"ended by {number}", flush=True)


@pytest.fixture
def parent(tmp_path: Path):
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()


def port_of(parent: subprocess.Popen[str]) -> int:
    assert parent.stdout is not None
    return int(parent.stdout.readline())


def ask(port: int) -> int:
    """The process that answers; one that is killed between accepting and answering says nothing, and is asked again."""
    while True:
        with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as connection:
            if told := connection.recv(100):
                return int(told)


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ask_until(port: int, many: int) -> set[int]:
    """Ask until so many different processes have answered."""
    seen: set[int] = set()
    deadline = time.monotonic() + WAIT_S
    while len(seen) < many and time.monotonic() < deadline:
        seen.add(ask(port))
    return seen


def test_a_killed_replica_is_started_again_and_the_port_always_answers(parent: subprocess.Popen[str]) -> None:
    port = port_of(parent)
    first = ask_until(port, 2)
    victim = min(first)
    os.kill(victim, signal.SIGKILL)
    seen = ask_until(port, 1) | {min(first)}
    while len(seen - first) < 1:
        seen.add(ask(port))
    assert victim not in {ask(port) for _ in range(20)}
    parent.terminate()
    assert parent.wait(WAIT_S) == 0 and "ended by 15" in str(parent.stdout.read() if parent.stdout else "")
    assert not any(map(is_there, seen))


def test_replicas_end_with_a_parent_that_was_killed(parent: subprocess.Popen[str]) -> None:
    pids = ask_until(port_of(parent), 2)
    parent.kill()
    deadline = time.monotonic() + WAIT_S
    while any(map(is_there, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(is_there, pids))


def test_a_replica_that_cannot_begin_ends_the_server_with_a_sentence(tmp_path: Path) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    listener = socket.create_server(("127.0.0.1", 0))
    try:
        with pytest.raises(ConfigError, match="replica 0 ended with code 2 before it could answer"):
            keep_replicas(2, str(tmp_path), listener, fail, print, 10)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
