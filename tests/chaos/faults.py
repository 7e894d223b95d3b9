"""How is each fault brought about? One function a kind; each says whether there was something to break.

Signals go to processes of the run under test alone. Files are damaged while the driver is dead, a disk is full because
the store lies on a small tmpfs of its own and a ballast file takes what is left of it.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.chaos import processes
from tests.chaos.bucket import SECONDS as WEATHER_SECONDS
from tests.chaos.life import CLOCK_BACK_SECONDS, RUN, Life
from tests.chaos.schedule import KILLS, Fault

DISK_BYTES = 96 << 20
FULL_SECONDS = 4.0
HANG_SECONDS = 150.0  # a rank that is still stopped then is woken: an intervention
PATIENCE_SECONDS = 3.0  # how long a process that is just being started again is waited for
APPENDED_RECORDS = 60


def bring_about(life: Life, fault: Fault) -> tuple[bool, str]:
    """Do it; (was there something to break, what exactly)."""
    if fault.kind in KILLS:
        return _signal(life, fault.kind, signal.SIGKILL)
    return OTHERS[fault.kind](life)


def _signal(life: Life, kind: str, number: signal.Signals) -> tuple[bool, str]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := _targets(life, kind)):
        if time.monotonic() > deadline or life.driver is None or life.driver.poll() is not None:
            return False, f"no {kind} lives"
        time.sleep(0.05)
    if kind in ("driver", "raylet", "gcs"):
        life.expected_end = time.time()
    pick = Random(f"{life.plan.seed} {len(life.fired)}").choice(found)
    return processes.send(pick, number), f"pid {pick.pid}"


def _targets(life: Life, kind: str) -> list[processes.Process]:
    """The processes a kind aims at: "worker" is rank 0, "peer" is another rank (or rank 0 where it is alone)."""
    if kind not in ("worker", "peer"):
        return life.family(kind)
    workers = life.family("worker")
    first = next((e["pid"] for e in reversed(life.told.events) if e["event"] == "started"), None)
    chosen = [p for p in workers if (p.pid == first) == (kind == "worker")]
    return chosen or workers


def _sigterm(life: Life) -> tuple[bool, str]:
    return _end(life, signal.SIGTERM)


def _end(life: Life, number: signal.Signals) -> tuple[bool, str]:
    assert life.driver is not None
    life.expected_end = time.time()
    life.driver.send_signal(number)
    return True, f"pid {life.driver.pid}"


def _hang(life: Life) -> tuple[bool, str]:
    """Stop a rank and wait for the run's own watchdog to end it."""
    done, note = _signal(life, "peer", signal.SIGSTOP)
    if not done:
        return False, note
    stopped = next(p for p in life.family("worker") if note == f"pid {p.pid}")

    def wake() -> None:
        if processes.lives(stopped) and life.driver is not None and life.driver.poll() is None:
            life.intervene(f"a stopped rank was not noticed within {HANG_SECONDS:.0f} s")
            processes.send(stopped, signal.SIGCONT)

    life.later.append((time.time() + HANG_SECONDS, wake))
    return True, note


def _poison(text: str) -> Callable[[Life], tuple[bool, str]]:
    def act(life: Life) -> tuple[bool, str]:
        """Leave word for the first rank that computes a loss; see tests/chaos/within."""
        (life.folder / "poison").write_text(text)
        return True, text

    return act


def _clock(life: Life) -> tuple[bool, str]:
    """Set the clock of all of the run's Python processes back; what they start later is as far behind."""
    clock = life.folder / "clock"
    behind = CLOCK_BACK_SECONDS + (int(clock.read_text()) if clock.exists() else 0)
    clock.write_text(str(behind))
    return True, f"{behind} s behind"


def _damage(how: str) -> Callable[[Life], tuple[bool, str]]:
    def act(life: Life) -> tuple[bool, str]:
        """Kill the driver; when all of its processes are gone, harm the newest checkpoint."""
        life.before_restart.append(lambda: harm(life, how))
        return _end(life, signal.SIGKILL)

    return act


def harm(life: Life, how: str) -> None:
    """Harm the newest checkpoint, as a failing disk or a crash of the machine does."""
    deadline = time.monotonic() + 20
    while any(processes.lives(p) for p in life.seen.values()) and time.monotonic() < deadline:
        time.sleep(0.1)
    manifests = sorted((life.folder / f"lake/runs/{RUN}/checkpoints").glob("*.json"))
    fired = life.fired[-1]
    if not manifests:
        fired.done, fired.note = False, "no checkpoint to harm"
        return
    if how == "manifest":
        manifests[-1].write_bytes(manifests[-1].read_bytes()[:100])
    else:
        path = life.folder / "lake" / json.loads(manifests[-1].read_text())["files"][-1]["path"]
        data = bytearray(path.read_bytes())
        if how == "flip":
            data[len(data) // 2] ^= 0x10
        path.write_bytes(data if how == "flip" else data[:-1000])
    fired.note += f", {how} of {manifests[-1].stem}"


def _fill_disk(life: Life) -> tuple[bool, str]:
    """Take all that is left of the store's disk, and give it back after some seconds."""
    lake = life.folder / "lake"
    if not lake.is_mount():
        return False, "the store has no disk of its own here: mounting a tmpfs needs root"
    ballast = lake / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\0" * size)
    life.later.append((time.time() + FULL_SECONDS, lambda: ballast.unlink(missing_ok=True)))
    return True, f"{ballast.stat().st_size >> 20} MiB for {FULL_SECONDS:.0f} s"


def _weather(kind: str) -> Callable[[Life], tuple[bool, str]]:
    def act(life: Life) -> tuple[bool, str]:
        """Let the weather turn; it gets better by itself."""
        if life.bucket is None:
            return False, "the store is in no bucket"
        life.bucket.proxy.turn(kind, WEATHER_SECONDS[kind])
        return True, f"for {WEATHER_SECONDS[kind]:.0f} s"

    return act


def _append(life: Life) -> tuple[bool, str]:
    life.grow(APPENDED_RECORDS, torn=True)
    return True, f"{APPENDED_RECORDS} records"


OTHERS: dict[str, Callable[[Life], tuple[bool, str]]] = {
    "sigterm": _sigterm,
    "hang": _hang,
    "memory": _poison("memory"),
    "nan": _poison("nan"),
    "spike": _poison("1000"),
    "clock": _clock,
    "flip": _damage("flip"),
    "truncate": _damage("truncate"),
    "manifest": _damage("manifest"),
    "disk_full": _fill_disk,
    "storage_errors": _weather("errors"),
    "storage_hang": _weather("hang"),
    "storage_cut": _weather("cut"),
    "storage_reset": _weather("reset"),
    "append": _append,
}


def mount(folder: Path) -> bool:
    """Give the store of a run a small disk of its own; False where this is not permitted."""
    lake = folder / "lake"
    lake.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        return False
    options = f"size={DISK_BYTES},mode=700"
    return subprocess.run(["mount", "-t", "tmpfs", "-o", options, "headrace", lake], check=False).returncode == 0


def unmount(folder: Path) -> None:
    """Take it away again."""
    subprocess.run(["umount", "--lazy", folder / "lake"], check=False)
