"""Which machines are there, and who reaches whom?

Two network namespaces stand for machines, each with an own address for each of its nodes; a third one is the switch
between them. A machine is cut off by closing its port of the switch: packets vanish, addresses and routes stay, as when
a cable is pulled. Nothing of the host's own network is touched, and whatever an earlier run that crashed left behind is
found by the namespaces' names: only what was started there has its processes there.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

PREFIX = "headrace-"  # of the namespaces' names: who has it is ours, and may be killed
SWITCH = "switch"
MACHINES = {"east": ("10.77.1.1", "10.77.1.2"), "west": ("10.77.2.1", "10.77.2.2")}
GATEWAY = "10.77.0.1"  # of the switch: a route to everywhere, by which Ray finds a machine's own address


def why_not() -> str:
    """Why there can be no machines here; "" if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "there is no `ip` command (iproute2)"
    probe = f"{PREFIX}probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "delete", probe], capture_output=True, check=False)
    return "" if made.returncode == 0 else f"this kernel gives no network namespaces: {made.stderr.strip()}"


def build() -> None:
    """Make the machines and the switch; what an earlier run left is removed first."""
    tear_down()
    switch = namespace(SWITCH)
    for name in (switch, *map(namespace, MACHINES)):
        _ip("netns", "add", name)
        _ip("-n", name, "link", "set", "lo", "up")
    _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
    _ip("-n", switch, "address", "add", f"{GATEWAY}/16", "dev", "bridge")
    _ip("-n", switch, "link", "set", "bridge", "up")
    for machine, addresses in MACHINES.items():
        name = namespace(machine)
        _ip("-n", switch, "link", "add", machine, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("-n", switch, "link", "set", machine, "master", "bridge", "up")
        for address in addresses:
            _ip("-n", name, "address", "add", f"{address}/16", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")
        _ip("-n", name, "route", "add", "default", "via", GATEWAY)


def tear_down() -> list[int]:
    """Kill what runs in the machines and remove them; the pids that had to be killed."""
    left = [name for name in _names() if name.startswith(PREFIX)]
    killed: set[int] = set()
    for name in left:
        deadline = time.monotonic() + 20
        while (living := pids(name)) and time.monotonic() < deadline:
            for pid in living:
                killed.add(pid)
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.1)
        _ip("netns", "delete", name)
    return sorted(killed)


def cut(machine: str) -> None:
    """Let no packet to or from a machine through."""
    _ip("-n", namespace(SWITCH), "link", "set", machine, "down")


def heal(machine: str) -> None:
    """Let them through again."""
    _ip("-n", namespace(SWITCH), "link", "set", machine, "up")


def reaches(machine: str, address: str) -> bool:
    """Does a packet from a machine to an address come back? A refused connection is an answer, too."""
    probe = f"import socket; socket.create_connection(('{address}', 9), timeout=5)"
    done = subprocess.run([*on(machine), sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    return done.returncode == 0 or "ConnectionRefusedError" in done.stderr


def on(machine: str) -> list[str]:
    """What stands before a command so that it runs on a machine."""
    return ["ip", "netns", "exec", namespace(machine)]


def namespace(machine: str) -> str:
    """The namespace of a machine."""
    return PREFIX + machine


def pids(name: str) -> list[int]:
    """The processes of a namespace."""
    return [int(pid) for pid in _ip("netns", "pids", name).split()]


def _names() -> list[str]:
    return [path.name for path in Path("/run/netns").glob("*")]


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
