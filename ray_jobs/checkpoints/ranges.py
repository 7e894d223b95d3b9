"""How does a worker get just those bytes of a checkpoint that it needs, once a node, each chunk compared?

Whole files cost every worker the whole checkpoint: eight workers, eight times. A file's header holds digests of its
chunks, and the manifest holds the digest of the header (models/engine/parts.py). So any chunk can be read and compared
alone. Out of a bucket chunks are brought to a folder that the workers of one node share: the first to need one brings
it. A file of a local store is read where it lies. Checkpoints without such digests are fetched whole (files.py).
"""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import xxhash

from cluster.storage.retry import retry
from cluster.storage.store import Store
from models.engine.parts import (
    CHUNK_BYTES,
    DIGEST_BYTES,
    LocalPart,
    Part,
    Range,
    chunks_of,
    read_contents,
    read_digests,
    read_into,
)
from ray_jobs.checkpoints.files import fetch_files
from ray_jobs.checkpoints.manifest import Commit, DamagedCheckpointError
from ray_jobs.checkpoints.position import StoredFile

CHUNKS_AT_ONCE = 256  # of one request: 16 MiB, so that what is under way is no part of a large model
FIRST_BYTES = 1 << 15  # that are read to see how long a header is
REQUESTS_AT_ONCE, FILES_AT_ONCE = 4, 8


class Readable(Protocol):
    """What `Store.open_input` gives, as far as it is used here; several threads may read at once."""

    def read_at(self, nbytes: int, offset: int) -> bytes:
        """Return so many bytes from there."""


class Ranged:
    """A committed file of which single chunks are read."""

    def __init__(self, store: Store, file: StoredFile, folder: Path) -> None:
        """Read its header. `folder`: where workers of this node keep what they bring of a remote file."""
        self.store, self.file, self.local = store, file, store.local_path(file.path)
        self.bytes_at = self.local or folder / file.sha256
        self.brought_at = folder / f"{file.sha256}.chunks"
        self.header = self._read_header()
        self.start = len(self.header)  # of the chunks
        self.digests = read_digests(read_contents(self).metadata, file.size_bytes - self.start)
        self.checked = bytearray(len(self.digests) // DIGEST_BYTES)

    @property
    def name(self) -> str:
        """Where it lies in the store."""
        return self.file.path

    def size_bytes(self) -> int:
        """Bytes of the file."""
        return self.file.size_bytes

    def read_into(self, start: int, into: memoryview) -> None:
        """Fill `into` with the bytes from `start`, which are brought and compared if they are not yet."""
        if start + len(into) <= len(self.header):
            into[:] = self.header[start : start + len(into)]
            return
        self.fetch([(start, start + len(into))])
        handle = os.open(self.bytes_at, os.O_RDONLY)
        try:
            read_into(handle, start, into, self.name)
        finally:
            os.close(handle)

    def fetch(self, ranges: Sequence[Range]) -> None:
        """Bring what is not there yet and compare it; DamagedCheckpointError where it is not what was committed."""
        chunks = chunks_of((first - self.start, end - self.start) for first, end in ranges)
        wanted = [number for number in chunks if not self.checked[number]]
        if not wanted:
            return
        with self._brought() as brought, self.store.open_input(self.file.path) as stored:
            runs = _runs([number for number in wanted if not brought[number]])
            with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
                list(pool.map(lambda run: self._bring(stored, *run), runs))
            for first, end in runs:
                brought[first:end] = b"\1" * (end - first)
        for number in wanted:
            self.checked[number] = 1

    def _read_header(self) -> bytes:
        for _ in range(2):  # once more, before a whole checkpoint is given up for a bad transfer
            with self.store.open_input(self.file.path) as stored:
                first = _read(stored, 0, min(FIRST_BYTES, self.file.size_bytes))
                length = min(8 + int.from_bytes(first[:8], "little"), self.file.size_bytes)
                header = first[:length] + (_read(stored, len(first), length) if length > len(first) else b"")
            if xxhash.xxh3_128_hexdigest(header) == self.file.header:
                return header
        raise self._damaged()

    @contextmanager
    def _brought(self) -> Iterator[bytearray]:
        """Which chunks are on this node; nobody else of the node changes it meanwhile."""
        if self.local is not None:  # nothing is brought, but each worker compares what it reads
            yield bytearray(len(self.checked))
            return
        handle = os.open(self.brought_at, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            os.ftruncate(handle, len(self.checked))
            brought = bytearray(os.pread(handle, len(self.checked), 0))
            yield brought
            os.pwrite(handle, brought, 0)
        finally:
            os.close(handle)

    def _bring(self, stored: Readable, first: int, end: int) -> None:
        """Read some neighbouring chunks, compare each, and keep them if they are not on this machine."""
        start = self.start + first * CHUNK_BYTES
        for _ in range(2):
            data = _read(stored, start, min(self.start + end * CHUNK_BYTES, self.file.size_bytes))
            pieces = (data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES))
            digests = b"".join(map(xxhash.xxh3_128_digest, pieces))
            if digests == self.digests[first * DIGEST_BYTES : end * DIGEST_BYTES]:
                break
        else:
            raise self._damaged()
        if self.local is None:
            handle = os.open(self.bytes_at, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                os.pwrite(handle, data, start)
            finally:
                os.close(handle)

    def _damaged(self) -> DamagedCheckpointError:
        return DamagedCheckpointError(
            f"{self.file.path} does not hold the bytes that were committed; the checkpoint before it is used"
        )


def _read(stored: Readable, first: int, end: int) -> bytes:
    return retry(lambda: stored.read_at(end - first, first))


def open_parts(store: Store, commit: Commit, folder: Path) -> list[Part]:
    """Open a checkpoint's files, in rank order, with their headers read; DamagedCheckpointError."""
    if any(file.header is None for file in commit.files):
        return [LocalPart(path) for path in fetch_files(store, commit, folder)]
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        return list(pool.map(lambda file: Ranged(store, file, folder), commit.files))


def fetch(parts: Sequence[Part], ranges: Sequence[Sequence[Range]]) -> None:
    """Bring ranges of each file, several files side by side."""
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        waiting = [
            pool.submit(part.fetch, needed)
            for part, needed in zip(parts, ranges, strict=True)
            if isinstance(part, Ranged)
        ]
        for each in waiting:
            each.result()


@contextmanager
def node_folder(token: int) -> Iterator[Path]:
    """Give a folder that processes of this user on this node share by knowing the token; it goes with the first."""
    folder = Path(tempfile.gettempdir()) / f"headrace-restore-{token:016x}"
    folder.mkdir(mode=0o700, exist_ok=True)
    made = folder.lstat()
    if made.st_uid != os.getuid() or not stat.S_ISDIR(made.st_mode) or made.st_mode & 0o077:
        raise PermissionError(f"{folder} is not this user's alone; set TMPDIR to a folder that is")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _runs(chunks: Sequence[int]) -> list[Range]:
    """Join neighbours into requests of a bounded size.

    >>> _runs([0, 1, 2, 7])
    [(0, 3), (7, 8)]
    """
    runs: list[Range] = []
    for number in chunks:
        if runs and runs[-1][1] == number and number - runs[-1][0] < CHUNKS_AT_ONCE:
            runs[-1] = runs[-1][0], number + 1
        else:
            runs.append((number, number + 1))
    return runs
