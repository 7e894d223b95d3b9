"""What is a committed checkpoint, and which one does a run go on from?

A checkpoint is one JSON manifest, published once and atomically at `runs/<run>/checkpoints/<step>.json`; it names
every file with size and sha256 and holds the run's position, so weights, optimizer and data position become true in
the same instant. Files without a manifest never happened. Folders carry the attempt's name, so a process that
should be dead cannot write into another attempt's files.
"""

import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from cluster.storage.state import publish_json, read_json
from cluster.storage.store import Store
from ray_jobs.checkpoints.position import StoredFile, TrainingState, state_from_json
from ray_jobs.store.lease import Lease, overruled
from ray_jobs.store.paths import checkpoint_name, run_path

logger = logging.getLogger(__name__)

FORMAT, READABLE = 2, (1, 2)  # 1: without a digest
SIZES_AT_ONCE = 16  # files whose sizes are asked for side by side: each costs a request to a bucket
LATE = "a driver that had lost the run wrote it"
DAMAGES = (ValueError, KeyError, TypeError, AttributeError, FileNotFoundError)  # what a broken manifest raises


@dataclass(frozen=True)
class Commit:
    """A committed checkpoint: position of the run and the files that hold its tensors, in rank order."""

    run: str
    step: int
    round: int
    step_in_round: int  # steps of that round that are in the weights
    files: tuple[StoredFile, ...]
    state: TrainingState
    format: int = FORMAT

    @property
    def name(self) -> str:
        """How people and other files refer to it: run/step."""
        return checkpoint_name(self.run, self.step)

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size_bytes for file in self.files)


class FormatError(RuntimeError):
    """A checkpoint was written by another version of the format; it is whole, and never put aside."""


class DamagedCheckpointError(ValueError):
    """A committed file is missing or does not have the bytes that were committed."""


def publish(store: Store, commit: Commit) -> bool:
    """Make a checkpoint true; False if that step of that run was committed before."""
    return publish_json(store, run_path(commit.run, "checkpoints", f"{commit.step:08d}.json"), commit)


def commits(store: Store, run: str) -> list[int]:
    """Steps that are committed and kept, oldest first."""
    prefix = run_path(run, "checkpoints")
    names = [path.removeprefix(prefix + "/") for path in store.list(prefix)]
    return sorted(int(n.removesuffix(".json")) for n in names if n.endswith(".json") and n[:-5].isdigit())


def load(store: Store, run: str, step: int) -> Commit:
    """Read one manifest."""
    path = run_path(run, "checkpoints", f"{step:08d}.json")
    raw = read_json(store, path, dict[str, Any], "the checkpoint before it is used")
    given = raw.get("format")
    if not isinstance(given, int):
        raise DamagedCheckpointError(f"{path} is damaged: it names no format")
    if given not in READABLE:
        raise FormatError(f"checkpoint {run}/{step} has format {given!r}; this version reads up to {FORMAT}")
    files = tuple(StoredFile(**file) for file in raw["files"])
    return Commit(**{**raw, "files": files, "state": state_from_json(raw["state"])})


def by_name(store: Store, name: str) -> Commit:
    """Read the manifest that `Commit.name` refers to."""
    run, _, step = name.rpartition("/")
    return load(store, run, int(step))


def latest(store: Store, run: str) -> Commit | None:
    """The newest checkpoint whose files are all there with their sizes, None for a new run.

    One that is not whole, or whose driver had lost the run, is put aside, loudly, and the one before is used.
    Contents are compared with their checksums when they are fetched.
    """
    for step in reversed(commits(store, run)):
        try:
            commit = load(store, run, step)
            _check_sizes(store, commit)
        except DAMAGES as error:
            put_aside(store, run, step, str(error))
            continue
        if not overruled(store, run, commit.state.lease or 0, step):  # a damaged lease damages no checkpoint
            return commit
        put_aside(store, run, step, LATE)
    return None


def newest_readable(store: Store, run: str) -> Commit | None:
    """The newest manifest that can be read and counts. It only looks: nothing is put aside, files are not compared."""
    for step in reversed(commits(store, run)):
        try:
            commit = load(store, run, step)
        except DAMAGES:
            continue
        if not overruled(store, run, commit.state.lease or 0, step):
            return commit
    return None


def put_aside(store: Store, run: str, step: int, why: str) -> None:
    """Take a damaged checkpoint out of the line: its manifest is renamed, its files stay for a look."""
    source = run_path(run, "checkpoints", f"{step:08d}.json")
    logger.warning("checkpoint %s/%08d is damaged and put aside: %s", run, step, why)
    with suppress(FileNotFoundError):  # another process has just done it
        store.write(source + ".damaged", store.read(source))
        store.delete(source)


def put_overruled_aside(store: Store, lease: Lease) -> list[int]:
    """Put aside what an earlier driver committed after this lease had taken the run; returns those steps.

    Its manifest may become visible late: a request to a bucket is repeated for minutes by a machine that lost its
    network, and with it the run.
    """
    late = []
    for step in commits(store, lease.run):
        with suppress(*DAMAGES):  # what cannot be read is put aside by who would go on from it
            if step > lease.newest_step and (load(store, lease.run, step).state.lease or 0) < lease.number:
                put_aside(store, lease.run, step, LATE)
                late.append(step)
    return late


def _check_sizes(store: Store, commit: Commit) -> None:
    def check(file: StoredFile) -> None:
        with store.open_input(file.path) as stored:
            if stored.size() != file.size_bytes:
                raise DamagedCheckpointError(f"{file.path} has {stored.size()} bytes, {file.size_bytes} were committed")

    with ThreadPoolExecutor(SIZES_AT_ONCE) as pool:
        list(pool.map(check, commit.files))
