"""How does a file on a local disk appear whole or not at all, even after SIGKILL or a full disk?

It is written aside under a hidden name in the same folder, synced, then renamed (replace) or hard-linked
(create once); the folder is synced too, so the name survives a power cut. Cost: two fsyncs. A killed writer
leaves its hidden file behind, which no listing shows and the next driver deletes after a day (`Store.sweep_asides`).
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def aside(target: Path) -> Iterator[IO[bytes]]:
    """Open a hidden file beside the target, to be given to `keep`; it is gone afterwards in any case."""
    make_folder(target.parent)
    name = target.parent / f".{target.name[:100]}.{uuid.uuid4().hex}.aside"
    try:
        with open(name, "xb") as file:
            yield file
    finally:
        name.unlink(missing_ok=True)


def keep(file: IO[bytes], target: Path, only_if_absent: bool = False) -> bool:
    """Give a file opened by `aside` its name; False if `only_if_absent` and the name is taken.

    The link or rename is the commit: before it nothing is visible, after it everything is.
    """
    file.flush()
    os.fsync(file.fileno())
    try:
        if only_if_absent:
            os.link(file.name, target)
        else:
            Path(file.name).replace(target)
    except FileExistsError:
        return False
    _sync_folder(target.parent)
    return True


def is_aside(path: str) -> bool:
    """Tell whether a path is an unfinished or abandoned write."""
    name = path.rsplit("/", 1)[-1]
    return name.startswith(".") and name.endswith(".aside")


def make_folder(folder: Path) -> None:
    """Create a folder whose name survives a power cut, parents first."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
