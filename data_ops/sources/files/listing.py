"""Which files does a glob name now, and how is one opened?

`*`, `?`, `[..]` stay within a folder, `**` spans folders; hidden names match only when spelled. One listing
below the longest literal prefix, then a match on the names it returned: what a bucket calls its objects is
compared, never joined to a path. The price is that `a/**/b.jsonl` lists all of `a`.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.fs as pafs

from cluster.storage.buckets import ListedObject, list_s3, open_filesystem, s3_pages
from cluster.storage.retry import retry
from cluster.storage.uri import split_uri
from data_ops.sources.files.walk import FileState, state_of, walk
from data_ops.sources.protocol import Untaken

WILD = re.compile(r"[*?\[]")


def list_files(
    patterns: tuple[str, ...], passed: list[Untaken] | None = None, barren: list[str] | None = None
) -> list[FileState]:
    """List the files that match any of the patterns, once each, by name.

    A pattern that names a folder means everything below it. OSError if a bucket, or the folder where a pattern begins,
    cannot be listed. passed: takes in what matches and is not read, and why (walk.py); barren: the patterns that match
    nothing.
    """
    found: dict[str, FileState] = {}
    for pattern in patterns:
        scheme, path = split_pattern(pattern)
        list_one = _local if scheme == "file" else partial(_in_bucket, f"{scheme}://", open_filesystem(scheme, path))
        here = {state.partition: state for state in list_one(path, passed if passed is not None else [])}
        if not here and barren is not None:
            barren.append(pattern)
        found |= here
    return [found[name] for name in sorted(found)]


def is_named(patterns: tuple[str, ...], partition: str) -> bool:
    """Say whether `list_files` would list a file of this name, were it there."""
    return any(regex.fullmatch(partition) for pattern in patterns for regex in _regexes(pattern))


@lru_cache(maxsize=256)
def _regexes(pattern: str) -> tuple[re.Pattern[str], ...]:
    scheme, path = split_pattern(pattern)
    whole = path if scheme == "file" else f"{scheme}://{path}"
    globs = [whole] if WILD.search(path) else [whole, f"{whole.rstrip('/')}/**"]
    return tuple(map(glob_regex, globs))


class BucketPage(NamedTuple):
    """What one request of a listing gave: the objects that match, and the last key of all."""

    files: list[FileState]
    last_key: str


def pages_behind(pattern: str, after: str, passed: list[Untaken]) -> Iterator[BucketPage]:
    """List an s3:// pattern, request by request, behind a key ("": from the beginning).

    passed: takes in what matches and is not read. OSError where the bucket cannot be listed.
    """
    _, path = split_pattern(pattern)
    bucket = path.split("/", 1)[0]
    if not WILD.search(path):
        _, _, key = path.partition("/")
        if key and not key.endswith("/") and key > after:
            yield BucketPage(states([f"s3://{path}"]), key)
        path = path.rstrip("/") + "/**"
    base, depth = _beginning(path)
    folder = base.partition("/")[2]
    match = glob_regex(path).fullmatch
    for page in s3_pages(bucket, f"{folder}/" if folder else "", deep=depth != 0, after=after):
        files = [state for found in page if (state := object_state(bucket, found, match, passed))]
        yield BucketPage(files, page[-1].key if page else after)


def states(partitions: Sequence[str]) -> list[FileState]:
    """Look at objects of s3:// by name, several at once; what is not there is left out."""
    found: list[FileState] = []
    by_bucket: dict[str, list[str]] = {}
    for partition in partitions:
        path = partition.removeprefix("s3://")
        by_bucket.setdefault(path.split("/", 1)[0], []).append(path)
    for bucket, paths in by_bucket.items():
        infos = _infos(open_filesystem("s3", bucket), paths)
        found += [FileState(f"s3://{info.path}", info.size or 0, info.mtime_ns or 0) for info in infos if info.is_file]
    return found


def _infos(filesystem: pafs.FileSystem, paths: list[str]) -> list[pafs.FileInfo]:
    """Look at several objects; one that may not be looked at is told as one of a byte, so that reading it says so."""
    try:
        return list(filesystem.get_file_info(paths))
    except OSError as error:
        if "ACCESS_DENIED" not in str(error):
            raise
        if len(paths) == 1:
            return [pafs.FileInfo(paths[0], pafs.FileType.File, size=1, mtime_ns=0)]
        return [info for path in paths for info in _infos(filesystem, [path])]


def as_written(pattern: str) -> str | None:
    """Escape the brackets of a local pattern if what they spell is there by that very name.

    >>> as_written("/nowhere/news [2024]/*.jsonl") is None
    True
    """
    scheme, path = split_pattern(pattern)
    escaped, literal = [], True
    for part in path.split("/"):
        literal &= not re.search(r"[*?]", part)
        escaped.append(part.replace("[", "[[]") if literal else part)
    there = re.split(r"/(?=[^/]*[*?])", path)[0]
    return "/".join(escaped) if scheme == "file" and "[" in there and Path(there).exists() else None


def hint_of(pattern: str) -> str | None:
    """Tell how a pattern that matches nothing may have been meant otherwise than it is read.

    >>> hint_of("data/**.jsonl"), hint_of("data/*.jsonl")
    ('** spans folders only between slashes: write **/*.jsonl', None)
    """
    if meant := as_written(pattern):
        return f"brackets are wildcards in it: write {meant} for the folder or file of that name"
    if re.search(r"\{[^/}]*,[^/}]*\}", pattern):
        return "braces stand for themselves in it: give a list of paths instead"
    if glued := re.search(r"(?:^|/)(?:\*\*[^/*]+|[^/*]+\*\*)", pattern):
        part = glued[0].lstrip("/")
        return (
            f"** spans folders only between slashes: write {part.replace('**', '**/*' if part[0] == '*' else '*/**')}"
        )
    if re.search(r"\$\{?[A-Za-z_]", pattern):
        return "variables of the shell are not known here: write the path itself"
    if pattern != pattern.strip():
        return "it begins or ends with white space: take that away"
    return "folders are separated by / in it, not by \\" if "\\" in pattern else None


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


def _local(path: str, passed: list[Untaken]) -> Iterator[FileState]:
    if not WILD.search(path):
        named = Path(path)
        if not named.is_dir():
            if state := state_of(path, passed):  # also by a link: the configuration names it
                yield state
            return
        path = path.rstrip("/") + "/**"
    base, depth = _beginning(path)
    yield from walk(base, depth, glob_regex(path).fullmatch, passed)


def _in_bucket(prefix: str, filesystem: pafs.FileSystem, path: str, passed: list[Untaken]) -> Iterator[FileState]:
    if not WILD.search(path):
        info = filesystem.get_file_info(path)
        if info.type is not pafs.FileType.Directory:
            if info.is_file:
                yield FileState(prefix + info.path, info.size or 0, info.mtime_ns or 0)
            if prefix != "s3://":  # only there may an object be called as a folder is
                return
        path = path.rstrip("/") + "/**"
    base, depth = _beginning(path)
    match = glob_regex(path).fullmatch
    if prefix == "s3://":
        yield from _in_s3(base, depth != 0, match, passed)
        return
    for info in filesystem.get_file_info(pafs.FileSelector(base, allow_not_found=True, recursive=depth != 0)):
        if info.is_file and match(info.path):
            yield FileState(prefix + info.path, info.size or 0, info.mtime_ns or 0)


def _in_s3(base: str, deep: bool, match: Callable[[str], object], passed: list[Untaken]) -> Iterator[FileState]:
    bucket, _, folder = base.partition("/")
    for found in list_s3(bucket, f"{folder}/" if folder else "", deep=deep):
        if state := object_state(bucket, found, match, passed):
            yield state


def object_state(
    bucket: str, found: ListedObject, match: Callable[[str], object], passed: list[Untaken]
) -> FileState | None:
    """Tell an object that is read; one whose key is no path would be another object to pyarrow, and is passed over."""
    partition, parts = f"s3://{bucket}/{found.key}", found.key.split("/")
    usual = [part for part in parts if part not in ("", ".", "..")]
    if len(usual) == len(parts):
        return FileState(partition, found.size, found.modified_ns) if match(f"{bucket}/{found.key}") else None
    if found.size and match("/".join((bucket, *usual))):
        passed.append(Untaken(partition, "skipped", "odd_key", found.size))
    return None


def _beginning(pattern: str) -> tuple[str, int | None]:
    """The folder where a pattern begins, and how many folders below it names lie at most (None: any number)."""
    parts = pattern.split("/")
    first = next(i for i, part in enumerate(parts) if WILD.search(part))
    return "/".join(parts[:first]) or "/", None if "**" in parts else len(parts) - 1 - first


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
        inside = token[1:-1].replace("\\", "\\\\").replace("[", "\\[")
        return f"(?!/)[{'^' + inside[1:] if inside[0] in '!^' else inside}]"
    return re.escape(token)
