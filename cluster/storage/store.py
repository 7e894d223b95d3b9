"""How are bytes kept so that a crash never shows half of them?

A `Store` is a folder (local path, file://) or a prefix (s3://, gs://), used through relative paths. `write`
replaces atomically; `publish` creates once: of all who try, one gets True, ever (the commit and the lease).
Locally both cost two fsyncs (atomic.py); in a bucket a write is visible only when complete (buckets.py).
Not for appends: an object cannot grow, so what grows is rewritten or split over names.
"""

import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.fs as pafs

from cluster.storage.atomic import aside, is_aside, keep
from cluster.storage.buckets import create_once_gs, create_once_s3, open_filesystem, s3_endpoint, s3_region
from cluster.storage.retry import TEXT_HINTS, retry
from cluster.storage.uri import checked, split_uri

COPY_BYTES = 2**24
ASIDE_SECONDS = 86400.0  # no single write takes longer: an older unfinished one has lost its writer
ERRNO_HINTS = {
    errno.ENOSPC: "the disk is full; free space or choose another store",
    errno.EACCES: "permission is denied; make the folder writable or choose another store",
    errno.EPERM: "the operation is not permitted there; choose another store",
    errno.EROFS: "the file system is read-only; choose another store",
    errno.ENOTDIR: "a part of the path is a file; choose another store",
    errno.EEXIST: "a part of the path is a file; choose another store",
    errno.EISDIR: "it is a folder; name a file",
}


class Store:
    """A folder or prefix that holds everything of one lake; picklable, safe to share between threads."""

    def __init__(self, uri: str, scheme: str, root: str) -> None:
        self.uri, self.scheme, self.root = uri, scheme, root

    @classmethod
    def open(cls, uri: str) -> "Store":
        """Name a store; nothing is touched or created before the first call.

        Raises ValueError for a scheme that is not served or a path that leaves its bucket.
        """
        scheme, root = split_uri(uri)
        return cls(root if scheme == "file" else f"{scheme}://{root}", scheme, root)

    def __repr__(self) -> str:
        return f"Store({self.uri!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Store) and other.uri == self.uri

    def __hash__(self) -> int:
        return hash(self.uri)

    def __getstate__(self) -> dict[str, str]:
        return {"uri": self.uri, "scheme": self.scheme, "root": self.root}

    @property
    def is_local(self) -> bool:
        """Is it a folder of this machine, or one that is mounted?"""
        return self.scheme == "file"

    @cached_property
    def filesystem(self) -> pafs.FileSystem:
        """The pyarrow filesystem below the store; paths there are `root/path`."""
        return open_filesystem(self.scheme, self.root)

    def join(self, *parts: str) -> str:
        """Join parts into a relative path of this store; ValueError if one of them would leave it."""
        return checked("/".join(parts))

    def read(self, path: str) -> bytes:
        """Return a whole file; FileNotFoundError if it is not there."""
        with self._explained("read", path):
            if self.is_local:
                return Path(self._at(path)).read_bytes()
            return retry(lambda: self._read_remote(path))

    def write(self, path: str, data: bytes) -> None:
        """Replace a file: readers see the old content or the new, also after a crash or a full disk."""
        with self._explained("write", path):
            if self.is_local:
                with aside(Path(self._at(path))) as file:
                    file.write(data)
                    keep(file, Path(self._at(path)))
            else:
                retry(lambda: self._write_remote(path, data))

    def publish(self, path: str, data: bytes) -> bool:
        """Create a file with its content in one atomic act; False if it exists already, and nothing changes.

        Of any number of concurrent callers exactly one gets True. An OSError leaves it open.
        """
        target = self._at(path)
        with self._explained("publish", path):
            if not self.is_local:
                create_once = create_once_s3 if self.scheme == "s3" else create_once_gs
                bucket, _, key = target.partition("/")
                return create_once(bucket, key, data)
            with aside(Path(target)) as file:
                file.write(data)
                return keep(file, Path(target), only_if_absent=True)

    def exists(self, path: str) -> bool:
        """Tell whether a file, or anything below a folder of that name, is there."""
        with self._explained("look up", path):
            return bool(retry(lambda: self.filesystem.get_file_info(self._at(path)).type) != pafs.FileType.NotFound)

    def list(self, prefix: str = "") -> list[str]:
        """Return the relative paths of all files below a folder, sorted; [] if it is not there."""
        return [path for path, _ in self._files(prefix) if not is_aside(path)]

    def folders(self, prefix: str) -> Sequence[str]:
        """Return the names of the folders in a folder, sorted, without looking into them; [] if it is not there."""
        listed = self._look(prefix, recursive=False)
        return sorted(found.base_name for found in listed if found.type == pafs.FileType.Directory)

    def asides(self, prefix: str = "", older_than_s: float = 0.0) -> Sequence[str]:
        """Return what killed writers left so long ago below a folder, which `list` does not show; [] in a bucket."""
        files, latest = self._files(prefix) if self.is_local else (), time.time() - older_than_s
        return [path for path, written_s in files if is_aside(path) and written_s <= latest]

    def sweep_asides(self, prefix: str = "") -> Sequence[str]:
        """Delete what killed writers left below a folder a day ago or longer; returns the paths."""
        gone = self.asides(prefix, older_than_s=ASIDE_SECONDS)
        for path in gone:
            self.delete(path)
        return gone

    def delete(self, path: str) -> None:
        """Delete a file, or a folder with all below it; what is not there is no error."""
        with self._explained("delete", path), suppress(FileNotFoundError):
            kind = self.filesystem.get_file_info(target := self._at(path)).type
            if kind == pafs.FileType.Directory:
                self.filesystem.delete_dir(target)
            elif kind != pafs.FileType.NotFound:
                self.filesystem.delete_file(target)

    def upload(self, local_path: str | Path, path: str) -> None:
        """Copy a local file into the store as atomically as `write`; memory stays bounded."""
        target = self._at(path)
        with open(local_path, "rb") as source, self._explained("upload", path):
            if self.is_local:
                with aside(Path(target)) as file:
                    shutil.copyfileobj(source, file, COPY_BYTES)
                    keep(file, Path(target))
                return
            retry(lambda: self._upload_remote(source, target))

    def download(self, path: str, local_path: str | Path) -> None:
        """Copy a file of the store to a local path, which appears only when complete."""
        with self._explained("download", path):
            retry(lambda: self._download(path, Path(local_path)))

    def open_input(self, path: str) -> pa.NativeFile:
        """Open a file for random access."""
        with self._explained("open", path):
            return self.filesystem.open_input_file(self._at(path))

    def local_path(self, path: str) -> Path | None:
        """Return where a file lies on this machine; None if the store is remote."""
        return Path(self._at(path)) if self.is_local else None

    def delta_uri(self, table: str) -> str:
        """Return the URI under which `deltalake` finds a table of this store."""
        return f"{self.uri}/{checked(table)}"

    def delta_options(self) -> dict[str, str]:
        """Return `storage_options` for `deltalake`: endpoint, region, atomic commits; never a secret."""
        if self.scheme != "s3":
            return {}
        options = {"aws_conditional_put": "etag"}
        if endpoint := s3_endpoint():
            plain = str(endpoint.startswith("http:")).lower()
            options |= {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": plain}
        if region := s3_region(self.root.split("/")[0]):
            options["AWS_REGION"] = region
        return options

    def free_bytes(self) -> int | None:
        """Return the free space of a local store; None where there is no such limit."""
        if not self.is_local:
            return None
        there = next(p for p in (Path(self.root), *Path(self.root).parents) if p.exists())
        return shutil.disk_usage(there).free

    def check_writable(self) -> None:
        """Write, read back and delete a probe; OSError says in one sentence what is missing. Leaves nothing behind."""
        probe, data = f"probe-{uuid.uuid4().hex}", uuid.uuid4().bytes
        root = Path(self.root)
        absent = [p for p in (root, *root.parents) if not p.exists()] if self.is_local else []
        if self.is_local:
            self.write(probe, data)
        else:
            with self._explained("write", probe):  # once: an endpoint that is spelled wrong should be told soon
                self._write_remote(probe, data)
        back = self.read(probe)
        self.delete(probe)
        with suppress(OSError):  # a folder that somebody else put something into stays
            for folder in absent:
                folder.rmdir()
        if back != data:
            raise OSError(f"{self.uri} does not give back what was written; choose another store")

    def _files(self, prefix: str) -> Sequence[tuple[str, float]]:
        """All files below a folder, also hidden ones: relative path and time of writing (s since 1970), sorted."""
        files = (f for f in self._look(prefix, recursive=True) if f.type == pafs.FileType.File)
        return sorted((f.path[len(self.root) :].lstrip("/"), (f.mtime_ns or 0) / 1e9) for f in files)

    def _look(self, prefix: str, *, recursive: bool) -> Sequence[pafs.FileInfo]:
        with self._explained("list", prefix):
            base = self._at(prefix) if prefix else self.root
            selector = pafs.FileSelector(base, recursive=recursive, allow_not_found=True)
            try:
                return retry(lambda: tuple(self.filesystem.get_file_info(selector)))
            except FileNotFoundError:  # Arrow says so of a folder that was made between its two looks
                return retry(lambda: tuple(self.filesystem.get_file_info(selector)))

    def _read_remote(self, path: str) -> bytes:
        with self.filesystem.open_input_stream(self._at(path), compression=None) as stream:
            return bytes(stream.read())

    def _write_remote(self, path: str, data: bytes) -> None:
        with self.filesystem.open_output_stream(self._at(path), compression=None) as stream:
            stream.write(data)

    def _upload_remote(self, source: BinaryIO, target: str) -> None:
        source.seek(0)
        with self.filesystem.open_output_stream(target, compression=None) as stream:
            shutil.copyfileobj(source, stream, COPY_BYTES)
        arrived, size = self.filesystem.get_file_info(target).size, os.fstat(source.fileno()).st_size
        if arrived != size:
            self.filesystem.delete_file(target)
            raise OSError(f"{arrived} of {size} bytes arrived; upload it again")

    def _download(self, path: str, local_path: Path) -> None:
        with self.filesystem.open_input_file(self._at(path)) as source, aside(local_path) as file:
            shutil.copyfileobj(source, file, COPY_BYTES)
            keep(file, local_path)

    def _at(self, path: str) -> str:
        return f"{self.root.rstrip('/')}/{checked(path)}"

    @contextmanager
    def _explained(self, verb: str, path: str) -> Iterator[None]:
        """Tell an OSError in one sentence, of the same class and errno."""
        try:
            yield
        except OSError as error:
            text = " ".join(str(error).split())[:300]
            absent = "there is no such file" if isinstance(error, FileNotFoundError) else text
            known = (hint for key, hint in TEXT_HINTS.items() if key in text and not self.is_local)
            hint = next(known, ERRNO_HINTS.get(error.errno or 0, absent))
            told = type(error)(f"cannot {verb} {self.uri}/{path}: {hint}")
            told.errno = error.errno
            raise told from error
