"""Who may drive a run?

The holder of `runs/<run>/lease.json`: a number that grows with every holder, a token, host, process, and a heartbeat.
Taking over writes the next numbered claim with create-once, so of two who try only one wins. A dead process on the
same host is noticed at once, one elsewhere, which another container is too, when its heartbeat is older than
`LEASE_SECONDS`. The driver's clock is compared only with its own observations of change, never with the other's clock.
Who only asks does not wait: a heartbeat that is older than `SILENT_SECONDS` by the clock of the store is a dead one's.
"""

import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cluster.storage.clock import written_s_ago
from cluster.storage.seal import DamagedError
from cluster.storage.state import publish_json, read_json
from cluster.storage.store import Store
from ray_jobs.store.paths import run_path

LEASE_SECONDS = 30.0
SILENT_SECONDS = 120.0  # more than a file server's clients may remember the times of files
HEARTBEAT_SECONDS = 5.0
KEPT_CLAIMS = 8


class RunIsLiveError(RuntimeError):
    """Another driver holds the run."""


@dataclass(frozen=True)
class Lease:
    """One holder's claim on a run."""

    run: str
    number: int
    token: str
    host: str
    pid: int
    process_started: str
    newest_step: int  # the run's newest checkpoint when this was claimed

    @property
    def is_local(self) -> bool:
        """Was it claimed on this host (in the same container, and since it booted)?"""
        return self.host == _host()

    def held(self, store: Store) -> bool:
        """Is this still the newest claim?"""
        newest = _newest(store, self.run)
        return newest is not None and newest.token == self.token


def acquire(store: Store, run: str, wait_seconds: float = LEASE_SECONDS) -> Lease:
    """Take the run, or raise RunIsLiveError. Waits out the heartbeat of a holder on another machine.

    What an earlier holder commits from now on no longer counts (`overruled`).
    """
    newest = _newest(store, run)
    if newest is not None and not _released(store, newest) and _alive(store, newest, wait_seconds):
        raise RunIsLiveError(
            f"run {run} is being driven by process {newest.pid} on {newest.host}; "
            "wait for it, stop it, or choose another name"
        )
    mine = Lease(
        run=run,
        number=newest.number + 1 if newest else 0,
        token=uuid.uuid4().hex,
        host=_host(),
        pid=os.getpid(),
        process_started=_process_started(os.getpid()),
        newest_step=_newest_step(store, run),
    )
    if not publish_json(store, _claim_path(run, mine.number), mine):
        raise RunIsLiveError(f"run {run} was taken by another driver in this moment; wait for it")
    for path in _claim_paths(store, run)[:-KEPT_CLAIMS]:
        store.delete(path)
        store.delete(path.removesuffix(".json") + ".beat")
    return mine


class Heart:
    """Beats for a lease while a driver lives; `release` ends it."""

    def __init__(self, store: Store, lease: Lease) -> None:
        self.store, self.lease = store, lease
        self.stopped, self.lost = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._beat, daemon=True, name="lease")
        self.thread.start()

    def release(self) -> None:
        """Stop beating and let the next driver in at once."""
        self.stopped.set()
        self.thread.join(LEASE_SECONDS)  # a beat that hangs longer in a lost network holds up nobody's end
        with suppress(OSError):  # the lease then ends like that of a dead process
            self.store.write(_beat_path(self.lease), b"released")

    def _beat(self) -> None:
        while True:
            with suppress(OSError):  # a full disk or a lost network: the next beat tries again
                self.store.write(_beat_path(self.lease), str(time.time()).encode())
                if not self.lease.held(self.store):
                    self.lost.set()
            if self.stopped.wait(HEARTBEAT_SECONDS):
                return


def overruled(store: Store, run: str, number: int, step: int) -> bool:
    """Was a checkpoint committed by claim `number` after a later one had taken the run?

    A process that was paused between its last look at the lease and its commit cannot know; a later one can.
    """
    return any(claim.number > number and step > claim.newest_step for claim in _claims(store, run))


def holder(store: Store, run: str, wait_seconds: float = 0.0) -> Lease | None:
    """Who drives the run now; None if nobody does.

    A holder on another machine has to give a heartbeat within `wait_seconds` of waiting; without waiting, its last
    one must not be older than `SILENT_SECONDS`.
    """
    newest = unreleased(store, run)
    return newest if newest is not None and _alive(store, newest, wait_seconds) else None


def last_claim(store: Store, run: str) -> int:
    """The number of the newest claim on a run, whoever made it; -1: nobody ever did."""
    paths = _claim_paths(store, run)
    return int(paths[-1].rpartition("/")[2].removesuffix(".json")) if paths else -1


def unreleased(store: Store, run: str) -> Lease | None:
    """The newest claim on a run if its holder never let it go, dead or alive."""
    try:
        newest = _newest(store, run)
    except DamagedError:  # its heart tells whether it lives
        number = int(_claim_paths(store, run)[-1].rpartition("/")[2].removesuffix(".json"))
        newest = Lease(run, number, "", "a host that its damaged lease does not tell", 0, "", -1)
    return None if newest is None or _released(store, newest) else newest


def silent_s(store: Store, lease: Lease) -> float | None:
    """How many seconds ago was a holder's last sign of life, by the clock of the store? None: its claim is gone.

    Negative where that clock was set back since. OSError where the store takes no file of ours to compare with.
    """
    beat = written_s_ago(store, _beat_path(lease))
    return written_s_ago(store, _claim_path(lease.run, lease.number)) if beat is None else beat


def _alive(store: Store, lease: Lease, wait_seconds: float) -> bool:
    """On this host: does the process run? Elsewhere: does the heartbeat change while we watch?"""
    if lease.is_local:
        return _process_started(lease.pid) == lease.process_started
    if wait_seconds == 0:
        try:
            silent = silent_s(store, lease)
        except OSError:  # who may only read looks twice
            silent = -SILENT_SECONDS
        if silent is None or silent > -HEARTBEAT_SECONDS:
            return silent is not None and silent <= SILENT_SECONDS
        wait_seconds = 2 * HEARTBEAT_SECONDS + 1  # a beat from the future says nothing of now: the clock was set back
    before, deadline = _beat(store, lease), time.monotonic() + wait_seconds
    while time.monotonic() < deadline:
        time.sleep(min(1.0, wait_seconds / 10))
        asked = time.monotonic()
        if (now := _beat(store, lease)) != before:
            return now not in (b"", b"released")  # gone with its lease, or let go
        deadline += time.monotonic() - asked  # while a store does not answer us, it does not take their beats either
    return False


def _newest(store: Store, run: str) -> Lease | None:
    while paths := _claim_paths(store, run):
        with suppress(FileNotFoundError):  # it went between list and read, with a lease that is over
            return _read_claim(store, paths[-1])
    return None


def _newest_step(store: Store, run: str) -> int:
    names = [path.rpartition("/")[2] for path in store.list(run_path(run, "checkpoints"))]
    return max((int(n[:-5]) for n in names if n.endswith(".json") and n[:-5].isdigit()), default=-1)


def _claims(store: Store, run: str) -> list[Lease]:
    """The claims of the last `KEPT_CLAIMS` holders; one before them is long dead."""
    claims = []
    for path in _claim_paths(store, run):
        with suppress(FileNotFoundError):  # who takes the run in this moment lets the oldest go
            claims.append(_read_claim(store, path))
    return claims


def _read_claim(store: Store, path: str) -> Lease:
    mend = "if no process drives that run, delete the file, then start again"
    return read_json(store, path, Lease, mend)


def _claim_paths(store: Store, run: str) -> list[str]:
    """In the order in which they were made."""
    claims = {path: Path(path) for path in store.list(run_path(run, "lease"))}
    return sorted(path for path, file in claims.items() if file.suffix == ".json" and file.stem.isdecimal())


def _released(store: Store, lease: Lease) -> bool:
    return _beat(store, lease) == b"released"


def _beat(store: Store, lease: Lease) -> bytes:
    try:
        return store.read(_beat_path(lease))
    except FileNotFoundError:
        return b""


def _claim_path(run: str, number: int) -> str:
    return run_path(run, "lease", f"{number:08d}.json")


def _beat_path(lease: Lease) -> str:
    return run_path(lease.run, "lease", f"{lease.number:08d}.beat")


def _host() -> str:
    """This machine's name, boot and, on Linux, PID namespace, within which a pid means one process.

    Containers may share name and boot (`--network host`), and each counts its processes by itself.
    """
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), ""
    with suppress(OSError):
        namespace = ":" + str(Path("/proc/self/ns/pid").readlink()).removeprefix("pid:").strip("[]")
    return socket.gethostname() + (":" + boot.read_text().strip()[:8] if boot.exists() else "") + namespace


def _process_started(pid: int) -> str:
    """When a process of this host started (clock ticks since boot), "" if there is none or it is a zombie.

    Without /proc, as on macOS, only whether it runs.
    """
    try:
        if not Path("/proc/self/stat").exists():
            os.kill(pid, 0)
            return "running"
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state in "ZX" else rest[18]
    except PermissionError:  # another user's process
        return "running"
    except (FileNotFoundError, ProcessLookupError):
        return ""
