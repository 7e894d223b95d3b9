"""Is a dead address told soon, and are signals obeyed meanwhile?"""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster.runtime.reach import ANSWER_SECONDS, wait_for_head
from tests.support.root import ROOT


def nobody() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_where_nobody_listens_it_is_said(scheme: str) -> None:
    began = time.monotonic()
    with pytest.raises(ConnectionError, match=r"nobody has listened there for 1 s: .*refused"):
        wait_for_head(f"{scheme}{nobody()}", 1.0)
    assert time.monotonic() - began < 5


def test_neither_a_clients_server_nor_a_word_is_asked_as_a_head_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        wait_for_head(f"ray://127.0.0.1:{server.getsockname()[1]}", 1.0)
    wait_for_head("auto", 1.0)


ASKED = """
import sys
from cluster.runtime.reach import wait_for_head
try:
    wait_for_head(sys.argv[1], 1.0)
except ConnectionError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_port_behind_which_no_head_is_is_said() -> None:
    """In a process of its own: what Ray leaves behind of the question goes on asking for half a minute."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        argv = [sys.executable, "-c", ASKED, f"127.0.0.1:{server.getsockname()[1]}"]
        said = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120).stdout
    assert said == "something listens there, but no Ray head has answered for 1 s\n"


def ingest(folder: Path, address: str) -> subprocess.Popen[str]:
    (folder / "a.jsonl").write_text('{"text": "The river turns the wheel, and the stone grinds the grain."}\n')
    argv = ["ingest", f"store={folder}/lake", f"sources.mine.path={folder}/a.jsonl", "tokenizer.kind=bytes"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {"RAY_ADDRESS": address}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", "ray_jobs", *argv], cwd=ROOT, env=environment, **pipes)


def wait_for_first_look(process: subprocess.Popen[str]) -> None:
    """Until the command has looked at its source, after which it goes to Ray: what it imports may take a minute."""
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first.startswith("source mine"), first


@pytest.mark.slow
@pytest.mark.parametrize("frozen", [False, True])
def test_a_command_tells_of_a_dead_address_within_half_a_minute(tmp_path: Path, frozen: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}" if frozen else nobody()
        process = ingest(tmp_path, address)
        wait_for_first_look(process)
        _, said = process.communicate(timeout=120)  # Ray itself asks for 14 minutes
    assert process.returncode == 1 and f"no Ray cluster accepts us at {address} (" in said, said
    assert f"for {ANSWER_SECONDS:.0f} s" in said, "by its own clock, whatever else the machine does"
    assert "unset RAY_ADDRESS" in said


@pytest.mark.slow
@pytest.mark.parametrize("frozen", [False, True])
def test_a_command_that_waits_obeys_sigterm(tmp_path: Path, frozen: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        process = ingest(tmp_path, f"127.0.0.1:{server.getsockname()[1]}" if frozen else nobody())
        wait_for_first_look(process)
        if frozen:
            server.accept()  # it has come to the port, and waits for an answer
        else:
            time.sleep(2)  # nobody sees it wait
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
    assert process.returncode != 0 and time.monotonic() - began < 3
