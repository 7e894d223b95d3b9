"""Which files does a glob name now, and how is one opened?

`*`, `?`, `[..]` stay within a folder, `**` spans folders; hidden names match only when spelled. One listing
below the longest literal prefix, then a match on the names it returned: what a bucket calls its objects is
compared, never joined to a path. The price is that `a/**/b.jsonl` lists all of `a`.
"""

import re
from typing import NamedTuple

import pyarrow as pa
import pyarrow.fs as pafs

from cluster.storage.buckets import open_filesystem
from cluster.storage.retry import retry
from cluster.storage.store import split_uri

WILD = re.compile(r"[*?\[]")


class FileState(NamedTuple):
    """One file as listed: its partition name, bytes, and when it was last written (ns since 1970)."""

    partition: str
    size: int
    modified_ns: int

    @property
    def modified_s(self) -> float:
        return self.modified_ns / 1e9


def list_files(patterns: tuple[str, ...], closed: list[str] | None = None) -> list[FileState]:
    """List the files that match any of the patterns, once each, by name.

    A pattern that names a folder means everything below it. OSError if a bucket, or the folder where a pattern begins,
    cannot be listed; folders below it that may not be entered are passed over, and added to `closed`.
    """
    found: dict[str, FileState] = {}
    for pattern in patterns:
        scheme, path = split_pattern(pattern)
        prefix = "" if scheme == "file" else f"{scheme}://"
        for info in _listed(open_filesystem(scheme, path), path, closed if closed is not None else []):
            state = FileState(prefix + info.path, info.size or 0, info.mtime_ns or 0)
            found[state.partition] = state
    return [found[name] for name in sorted(found)]


def is_named(patterns: tuple[str, ...], partition: str) -> bool:
    """Say whether `list_files` would list a file of this name, were it there."""
    for pattern in patterns:
        scheme, path = split_pattern(pattern)
        whole = path if scheme == "file" else f"{scheme}://{path}"
        globs = [whole] if WILD.search(path) else [whole, f"{whole.rstrip('/')}/**"]
        if any(glob_regex(glob).fullmatch(partition) for glob in globs):
            return True
    return False


def open_partition(partition: str) -> tuple[pafs.FileSystem, str]:
    """Give the filesystem of a listed file and its path there; the name is taken literally."""
    scheme, path = partition.split("://", 1) if "://" in partition else ("file", partition)
    return open_filesystem(scheme, path), path


def read_at(file: pa.NativeFile, start: int, size: int) -> bytes:
    """Read these bytes of an open file, fewer at its end; what a network refuses is asked for again."""
    return bytes(retry(lambda: file.read_at(size, start)))


def is_local(partition: str) -> bool:
    """Say whether a listed file is on a local disk, where a half-written file can be seen."""
    return "://" not in partition


def split_pattern(pattern: str) -> tuple[str, str]:
    """Split a pattern into scheme and path; a local one becomes absolute, a bucket's keeps its wildcards."""
    if pattern.startswith(("s3://", "gs://")):
        scheme, path = pattern.split("://", 1)
        bucket = path.split("/", 1)[0]
        if not bucket or WILD.search(bucket):
            raise ValueError(f"path={pattern!r} names no bucket; write for example {scheme}://bucket/news/*.jsonl")
        return scheme, path
    return split_uri(pattern)


def _listed(filesystem: pafs.FileSystem, path: str, closed: list[str]) -> list[pafs.FileInfo]:
    if not WILD.search(path):
        info = filesystem.get_file_info(path)
        if info.type is not pafs.FileType.Directory:
            return [info] if info.is_file else []
        path = path.rstrip("/") + "/**"
    parts = path.split("/")
    depth = next(i for i, part in enumerate(parts) if WILD.search(part))
    recursive = depth < len(parts) - 1 or "**" in parts[depth]
    base = "/".join(parts[:depth]) or "/"
    match = glob_regex(path).fullmatch
    return [info for info in _below(filesystem, base, recursive, closed) if info.is_file and match(info.path)]


def _below(filesystem: pafs.FileSystem, base: str, recursive: bool, closed: list[str]) -> list[pafs.FileInfo]:
    """Everything in a folder; where one below it may not be entered, they are listed one by one, without it."""
    try:
        selector = pafs.FileSelector(base, allow_not_found=True, recursive=recursive)
        return list(filesystem.get_file_info(selector))
    except PermissionError:
        if not recursive:
            raise
    found, folders = [], [base]
    while folders:
        folder = folders.pop()
        try:
            here = _below(filesystem, folder, False, closed)
        except PermissionError:
            if folder == base:
                raise
            closed.append(folder)
            continue
        found += here
        folders += [info.path for info in here if info.type is pafs.FileType.Directory]
    return found


def glob_regex(pattern: str) -> re.Pattern[str]:
    """Translate a glob over whole paths.

    >>> bool(glob_regex("/a/**/*.txt").fullmatch("/a/b.txt"))
    True
    >>> bool(glob_regex("/a/*.txt").fullmatch("/a/b/c.txt"))
    False
    """
    parts = pattern.split("/")
    regex = ""
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "**":
            regex += r"(?:(?!\.)[^/]+/)*" + (r"(?!\.)[^/]+" if last else "")
        else:
            hidden = r"(?!\.)" if WILD.match(part) else ""
            regex += hidden + _component(part) + ("" if last else "/")
    return re.compile(regex, re.DOTALL)


def _component(part: str) -> str:
    tokens = re.split(r"(\*+|\?|\[[!^]?\]?[^\]]*\])", part)
    return "".join(_token(token) for token in tokens)


def _token(token: str) -> str:
    if token.startswith("*"):
        return "[^/]*"
    if token == "?":
        return "[^/]"
    if token.startswith("[") and token.endswith("]") and len(token) > 2:
        inside = token[1:-1].replace("\\", "\\\\")
        return f"(?!/)[{'^' + inside[1:] if inside[0] in '!^' else inside}]"
    return re.escape(token)
