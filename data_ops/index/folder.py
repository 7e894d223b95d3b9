"""Where do the files of an index lie, and which of them count?

In a folder of the store, each written once. A numbered manifest names those that count; it is created in one atomic act
(`Store.publish`), so of several processes that keep the same index one makes the next manifest, and the others begin
again from there. What a manifest no longer names is deleted by who made it, what a killed process left a day later.
In a bucket the files are the same; each node maps copies of them, in a folder of this user.
"""

import math
import os
import re
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec
import xxhash

from cluster.storage.atomic import aside, keep
from cluster.storage.seal import DamagedError
from cluster.storage.state import publish_json, read_json
from cluster.storage.store import Store
from data_ops.index.kept import DamagedIndexError
from data_ops.index.sorted_file import WIDTHS, FileFacts, SortedFile

ORPHAN_SECONDS = 86400  # no file is written for so long before a manifest names it
KNOWN_IDS, KNOWN_SKETCHES = "index/ids", "index/near"  # of the store
MANIFEST = "manifest-"
FILE_NAME = re.compile(rf"[0-9]{{1,12}}-[0-9a-f]{{12}}\.({'|'.join(WIDTHS)})")
MOST_ROWS = 1 << 40  # a line tells by so many bits where its rows begin


class IndexManifest(msgspec.Struct, frozen=True):
    """Which files hold the rows of all windows up to one. mark: what that window is known by in the lake.

    forgotten, forgotten_sum: how many of the lake's forgotten documents, the first ones, have no rows, and their sum.
    """

    window: int
    mark: str
    files: tuple[FileFacts, ...]
    forgotten: int = 0
    forgotten_sum: int = 0


class IndexFolder:
    """The files of one index in a store. copies: where those of a bucket are mapped, instead of this user's folder."""

    def __init__(self, store: Store, path: str = KNOWN_IDS, copies: Path | None = None) -> None:
        self.store, self.path, self.copies = store, path, copies

    def __str__(self) -> str:
        return f"{self.store.uri}/{self.path}"

    def newest(self) -> int:
        """The number of the newest manifest, -1 where there is none."""
        return max(self._numbers(), default=-1)

    def read(self, number: int) -> IndexManifest:
        """A manifest. DamagedIndexError where it is not what was written, FileNotFoundError where it is gone."""
        path = self._manifest(number)
        try:
            manifest = read_json(self.store, path, IndexManifest, "it is made anew")
        except DamagedError as error:
            raise DamagedIndexError(str(error)) from error
        for facts in manifest.files:  # names become paths, numbers places in memory
            fits = 0 < facts.num_rows < MOST_ROWS and 0 <= facts.total < 1 << 64
            if not fits or not FILE_NAME.fullmatch(facts.name):
                raise DamagedIndexError(f"{self.store.uri}/{path} names {facts.name!r}, which is no file of an index")
        return manifest

    def publish(self, number: int, manifest: IndexManifest) -> bool:
        """Make the manifest of this number; False where another process has made it, or a later one."""
        if not publish_json(self.store, self._manifest(number), manifest):
            return False
        numbers = self._numbers()
        newest = max(numbers, default=number)  # a later one: ours was taken, used and deleted while this process slept
        for other in numbers:
            if other < newest:
                self.store.delete(self._manifest(other))
        return newest == number

    def open(self, facts: FileFacts) -> SortedFile:
        """Open a file, fetched from a bucket if need be. FileNotFoundError; DamagedIndexError if it is another one."""
        local = self._local(facts.name)
        if not self.store.is_local:
            with suppress(DamagedIndexError, FileNotFoundError):  # no copy, or one that is torn
                return SortedFile(local, facts)
            self.store.download(f"{self.path}/{facts.name}", local)
        return SortedFile(local, facts)

    def write(self, write: Callable[[IO[bytes], str], FileFacts], kind: str = "ids") -> FileFacts:
        """Write a new file, whole or not at all, under a name that it is given. kind: one of WIDTHS."""
        name = f"{int(time.time())}-{uuid.uuid4().hex[:12]}.{kind}"
        local = self._local(name)
        with aside(local) as file:
            facts = write(file, name)
            keep(file, local)
        if not self.store.is_local:
            self.store.upload(local, f"{self.path}/{name}")
        return facts

    def delete(self, names: Iterable[str]) -> None:
        """Delete files that no manifest names; one that cannot be deleted goes a day later."""
        for name in names:
            with suppress(OSError):
                self.store.delete(f"{self.path}/{name}")
            with suppress(OSError):
                self._local(name).unlink(missing_ok=True)

    def clean(self, named: Iterable[str], seconds: float = ORPHAN_SECONDS) -> None:
        """Delete what killed processes left: files that are not named, nor younger than so many seconds."""
        local = Store.open(str(self._local("")))
        with suppress(OSError):
            for path in local.asides(older_than_s=seconds):
                local.delete(path)
        there = {path.rpartition("/")[2] for path in (*self.store.list(self.path), *local.list())}
        self.delete(name for name in there - set(named) if _age(name) > seconds)

    def _numbers(self) -> list[int]:
        numbers = (_number(path.rpartition("/")[2]) for path in self.store.list(self.path))
        return [number for number in numbers if number >= 0]

    def _manifest(self, number: int) -> str:
        return f"{self.path}/{MANIFEST}{number:08d}.json"

    def _local(self, name: str) -> Path:
        there = self.store.local_path(self.path) or self.copies
        return (_own_folder(str(self)) if there is None else there) / name


def _own_folder(uri: str) -> Path:
    """This node's folder for the files of a bucket, which only this user can enter."""
    root = Path(tempfile.gettempdir()) / f"headrace-index-{os.getuid()}"
    root.mkdir(mode=0o700, exist_ok=True)
    about = root.lstat()
    if about.st_uid != os.getuid() or about.st_mode & 0o077 or root.is_symlink():
        raise PermissionError(f"{root} can be written by others; delete it, or set TMPDIR to a folder of your own")
    return root / xxhash.xxh3_128_hexdigest(uri.encode())


def _number(name: str) -> int:
    digits = name.removeprefix(MANIFEST).removesuffix(".json")
    return int(digits) if name == f"{MANIFEST}{digits}.json" and digits.isdecimal() else -1


def _age(name: str) -> float:
    """Seconds since a file was begun, as its name tells; minus infinity for what is no file of an index."""
    began = name.partition("-")[0]
    return time.time() - int(began) if name.rpartition(".")[2] in WIDTHS and began.isdecimal() else -math.inf
