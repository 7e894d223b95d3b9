"""Which files lie below a folder of a local disk, without leaving it?

Whoever may write into a folder that is read must not be able to have other files read: a link to a file counts only if
its target lies below the folder where the pattern begins (mounted ConfigMaps, Hugging Face's cache work). A link to a
folder is not followed, so that loops end. What is passed over is said with its reason, also names that are no UTF-8,
links to nothing (an annex whose files were not fetched), FIFOs, sockets and devices.
"""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from data_ops.sources.protocol import Untaken

MAX_SIBLINGS = 100  # of a file that was renamed


class FileState(NamedTuple):
    """One file as listed: its partition name, bytes, and when it was last written (ns since 1970)."""

    partition: str
    size: int
    modified_ns: int

    @property
    def modified_s(self) -> float:
        """When the file was changed last, in seconds since 1970, by its server's clock."""
        return self.modified_ns / 1e9


def walk(base: str, depth: int | None, wanted: Callable[[str], object], passed: list[Untaken]) -> Iterator[FileState]:
    """Yield the wanted files at most `depth` folders below `base` (None: at any depth).

    OSError if `base` itself cannot be listed. passed: takes in what was wanted and is not read, and why.
    """
    inside = _inside(os.path.realpath(base))
    folders = [(base.rstrip("/"), 0)]
    while folders:
        folder, level = folders.pop()
        try:
            with os.scandir(folder or "/") as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except FileNotFoundError:
            continue
        except (PermissionError, NotADirectoryError) as error:
            if level == 0 and isinstance(error, PermissionError):
                raise
            passed.append(Untaken(_readable(folder), "unreadable", "closed_folder", 0))
            continue
        for entry in found:
            name = f"{folder}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                if depth is None or level < depth:
                    folders.append((name, level + 1))
            elif state := _file(entry, name, inside, wanted, depth is None or level < depth, passed):
                yield state


def _file(
    entry: os.DirEntry[str],
    name: str,
    inside: tuple[str, ...],
    wanted: Callable[[str], object],
    descends: bool,
    passed: list[Untaken],
) -> FileState | None:
    if entry.is_symlink():
        target = os.path.realpath(name)
        if Path(target).is_dir():
            if descends and not entry.name.startswith("."):
                passed.append(Untaken(_readable(name), "skipped", "folder_link", 0))
            return None
        if not wanted(name):
            return None
        if not target.startswith(inside) and Path(target).exists():
            passed.append(Untaken(_readable(name), "skipped", "outside_link", 0))
            return None
    elif not wanted(name):
        return None
    if _readable(name) != name:
        passed.append(Untaken(_readable(name), "skipped", "unreadable_name", 0))
        return None
    return state_of(name, passed)


def state_of(name: str, passed: list[Untaken]) -> FileState | None:
    """Look at one file; None, and why in `passed`, if there is nothing that can be read from end to end."""
    try:
        about = Path(name).stat()
    except FileNotFoundError:
        if Path(name).is_symlink():
            passed.append(Untaken(name, "unreadable", "dead_link", 0))
        return None  # else it went
    except OSError:  # links in a circle
        passed.append(Untaken(name, "unreadable", "dead_link", 0))
        return None
    if stat.S_ISREG(about.st_mode):
        return FileState(name, about.st_size, about.st_mtime_ns)
    passed.append(Untaken(name, "skipped", "no_file", 0))
    return None


def _inside(base: str) -> tuple[str, ...]:
    """Where targets of links may lie: below the folder; of a snapshot in Hugging Face's cache, in its blobs too."""
    repository, is_snapshot, _ = f"{base}/".partition("/snapshots/")
    return (f"{base}/", f"{repository}/blobs/") if is_snapshot else (f"{base}/",)


def _readable(name: str) -> str:
    """A name as it can be written down: bytes that are no UTF-8 are escaped."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def renamed(partition: str, is_it: Callable[[str], bool]) -> FileState | None:
    """Find a file that was renamed beside its old name, as rotation does: its name begins alike, `is_it` says so."""
    if "://" in partition:
        return None
    path = Path(partition)
    stem = path.name.split(".")[0]
    found: list[FileState] = []
    try:
        with os.scandir(path.parent) as entries:
            for entry in entries:
                if entry.name.startswith(stem) and entry.name != path.name and entry.is_file(follow_symlinks=False):
                    about = entry.stat(follow_symlinks=False)
                    found.append(FileState(f"{path.parent}/{entry.name}", about.st_size, about.st_mtime_ns))
    except OSError:
        return None
    found.sort(key=lambda file: -file.modified_ns)
    for file in found[:MAX_SIBLINGS]:
        try:
            if _readable(file.partition) == file.partition and is_it(file.partition):
                return file
        except OSError:
            continue  # it may not be read, or went
    return None
