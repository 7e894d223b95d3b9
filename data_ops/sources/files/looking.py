"""What comes of one look into a file: records, something to wait for, or a reason to leave it out?

Nothing that is wrong with one file is fatal: it is named and tried again. A file that gave nothing and has not changed
is not opened again by the same process.
"""

import errno
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from data_ops.sources.files.config import FilesConfig
from data_ops.sources.files.entry import Entry
from data_ops.sources.files.formats.content import FileKind, Format, UnknownKindError, sniffed_format
from data_ops.sources.files.formats.streams import head_of, packing_of
from data_ops.sources.files.growth import look_at
from data_ops.sources.files.listing import is_local
from data_ops.sources.files.step import MEND, Step
from data_ops.sources.files.walk import FileState
from data_ops.sources.protocol import Untaken

#: What is wrong with this machine, not with one file.
MACHINE_ERRORS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def format_of(config: FilesConfig, partition: str) -> Format:
    """Tell how a file is read: by the config, else by its first bytes and its name. UnknownKindError if by no way."""
    if config.format != "auto":
        return config.format
    conversations = config.conversations
    text = config.text if conversations is None else conversations.messages
    kind = sniffed_format(partition, head_of(partition, config.limits), text)
    if conversations is not None and kind == "text":
        raise UnknownKindError(
            "objective=instruct reads conversations from lines of JSON, tables and Parquet, and this is a text; set "
            "sources.<label>.path so that it does not match"
        )
    if kind == "parquet" and packing_of(partition) is not None:
        raise UnknownKindError("it is a Parquet file that was packed once more; unpack it")
    return kind


class _Seen(NamedTuple):
    """When a file was first seen as it is, by our clock, and what the last look into it gave if that was nothing."""

    file: FileState
    since_s: float
    known: Entry | None = None
    quiet: bool = False
    step: Step | None = None


class Look(NamedTuple):
    """What one look gave: a step, or why there is none; neither of a file that has gone meanwhile."""

    step: Step | None
    untaken: Untaken | None = None
    warnings: Sequence[str] = ()


class Looks:
    """The looks of this process at the files of one source."""

    def __init__(self, label: str, config: FilesConfig) -> None:
        self.label = label
        self.config = config
        self.clock: Callable[[], float] = time.monotonic
        self._seen: dict[str, _Seen] = {}

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_seen": {}}  # what a clock said is true in one process

    def look(self, file: FileState, known: Entry | None, left: int) -> Look:
        """Find at most `left` new records in a file. OSError where it is the machine, or the way to a bucket."""
        try:
            step = self._step(file, known, left)
        except FileNotFoundError:
            return Look(None)  # removed since it was listed
        except UnknownKindError as error:
            said = f"file {file.partition} is left out: {str(error).replace('<label>', self.label)}"
            return Look(None, Untaken(file.partition, "skipped", "unknown_kind", file.size), [said])
        except OSError as error:
            if not _is_of_the_file(error, file.partition):
                raise
            why = error.strerror or str(error)
            said = f"file {file.partition} cannot be read and is left for later ({why}); {MEND}"
            return Look(None, Untaken(file.partition, "unreadable", "unreadable_file", file.size), [said])
        return Look(step, step.waiting, step.warnings)

    def _step(self, file: FileState, known: Entry | None, left: int) -> Step:
        """Look into a file, or remember what the last look gave if it was nothing and nothing has changed since."""
        quiet = self._is_quiet(file)
        last = self._seen[file.partition]
        if last.step and (last.known, last.quiet) == (known, quiet):
            return last.step
        kind = FileKind(format_of(self.config, file.partition), self.config.limits)
        step = look_at(kind, file, known, left, self._is_quiet)
        if step.spans or step.waiting is None:
            self._seen.pop(file.partition, None)
        else:
            self._seen[file.partition] = _Seen(file, last.since_s, known, quiet, step)
        return step

    def _is_quiet(self, file: FileState) -> bool:
        """Say whether a file stands still for `settle` by two looks and our own clock; an object is whole at once."""
        last, now = self._seen.get(file.partition), self.clock()
        if last is None or last.file != file:
            last = self._seen[file.partition] = _Seen(file, now)
        return not is_local(file.partition) or now - last.since_s >= self.config.settle


def _is_of_the_file(error: OSError, partition: str) -> bool:
    """Tell what is wrong with one file from what is wrong with the machine, or the way to a bucket."""
    if is_local(partition):
        return error.errno not in MACHINE_ERRORS
    return isinstance(error, PermissionError) or "ACCESS_DENIED" in str(error)
