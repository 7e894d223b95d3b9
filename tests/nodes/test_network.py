"""The machines that `python -m tests.nodes` plays on: who reaches whom, and is everything taken away again?"""

import os
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.nodes import network

pytestmark = pytest.mark.slow


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Machines of this test alone, beside those of a scene that may be played meanwhile."""
    monkeypatch.setattr(network, "PREFIX", f"hr-test-{os.getpid()}-")
    if missing := network.why_not():
        pytest.skip(missing)
    network.build()
    try:
        yield
    finally:
        network.tear_down()


@pytest.mark.slow
def test_a_machine_is_cut_off_and_reached_again(machines: None) -> None:
    far = network.MACHINES["west"][1]
    assert network.reaches("east", far)
    network.cut("west")
    assert not network.reaches("east", far)
    assert network.reaches("west", far), "its own nodes still reach each other"
    network.heal("west")
    assert network.reaches("east", far)


def test_what_a_crashed_run_left_behind_is_removed_and_nothing_else(machines: None) -> None:
    left = subprocess.Popen([*network.on("east"), "sleep", "600"])
    other = subprocess.Popen(["sleep", "600"])
    try:
        while left.pid not in network.pids(network.namespace("east")):
            time.sleep(0.01)
        network.build()
        assert left.wait(timeout=10) == -9
        assert network.pids(network.namespace("east")) == []
        assert other.poll() is None
        assert network.tear_down() == []
        with pytest.raises(OSError, match="No such file"):
            network.pids(network.namespace("east"))
    finally:
        left.kill()
        other.kill()
        left.wait()
        other.wait()
