"""Which records of which files are new, and what do they say?

A file is a partition, named by its absolute path or URI. A poll lists the files, skips those whose size and
time stand still, and looks into the others (growth.py). Nothing that stands in a file is fatal: a record that cannot
be read is quarantined, and a file that cannot be opened is named, left for later, and tried again at every look.
"""

import errno
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa

from data_ops.sources.fields import Rows
from data_ops.sources.files.config import FilesConfig
from data_ops.sources.files.generations import left_behind, where_it_is
from data_ops.sources.files.growth import Entry, Format, Step, is_done, look
from data_ops.sources.files.lines import read_lines
from data_ops.sources.files.listing import as_written, is_local, is_named, list_files
from data_ops.sources.files.parquet import read_parquet, size_of_rows
from data_ops.sources.files.streams import TornError, blocks
from data_ops.sources.files.walk import FileState
from data_ops.sources.protocol import Discovery, Source, SourceConfig, Span, Untaken

#: What is wrong with this machine, not with one file.
MACHINE_ERRORS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
LINE_SUFFIXES = (".jsonl", ".ndjson", ".json")
MEND = "make it readable, it is tried again"
PASSED = {  # what is not read, by reason, as the beginning and the end of a sentence
    "closed_folder": ("folder", "cannot be read and is left for later (permission is denied); " + MEND),
    "folder_link": ("the link", "leads to a folder and is not followed; name that folder in the path to have it read"),
    "outside_link": (
        "the link",
        "leads out of the folder where the path begins and is not read; name its target in the path to have it read",
    ),
    "unreadable_name": ("the file", "is not read, its name is no UTF-8; rename it"),
}


def format_of(config: FilesConfig, partition: str) -> Format:
    """Tell how a file is read: by the config, else by its suffix."""
    if config.format != "auto":
        return config.format
    name = partition.lower().removesuffix(".gz").removesuffix(".zst")
    if name.endswith(LINE_SUFFIXES):
        return "jsonl"
    return "parquet" if name.endswith(".parquet") else "text"


class _Seen(NamedTuple):
    """When a file was first seen as it is, by our clock, and what the last look into it gave if that was nothing."""

    file: FileState
    since_s: float
    known: Entry | None = None
    quiet: bool = False
    step: Step | None = None


class FilesSource(Source):
    """One partition per file, named by its absolute path or URI."""

    CONFIG: ClassVar[type[SourceConfig]] = FilesConfig

    def __init__(self, label: str, config: FilesConfig) -> None:
        self.label = label
        self.config = config.absolute()  # relative patterns mean the folder of whoever opens the source
        self.clock: Callable[[], float] = time.monotonic
        self._seen: dict[str, _Seen] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_seen": {}}  # what a clock said is true in one process

    def discover(self, cursor: dict[str, Any], max_records: int) -> Discovery:
        """List what is new, file by file in the order of their names. Opens only files that changed, or wait.

        A file that cannot be read is named in a warning and keeps its cursor: the next call tries it again. It does
        not hold up a run that waits for the sources to be drained.
        """
        spans: list[Span] = []
        untaken: list[Untaken] = []
        files = list_files(self.config.patterns, untaken)
        warnings = [_passed(each) for each in untaken]
        after, left, drained = dict(cursor), max_records, True
        for file in files:
            known = Entry(*cursor[file.partition]) if file.partition in cursor else None
            if known and is_done(known, file):
                continue
            if left == 0:
                drained = False
                break
            try:
                step = self._look(file, known, left)
            except FileNotFoundError:
                continue  # removed since it was listed
            except OSError as error:
                if not _is_of_the_file(error, file.partition):
                    raise
                why = error.strerror or str(error)
                untaken.append(Untaken(file.partition, "unreadable", "unreadable_file", file.size))
                warnings.append(f"file {file.partition} cannot be read and is left for later ({why}); {MEND}")
                continue
            spans += step.spans
            left -= sum(span.num_records for span in step.spans)
            after[file.partition] = list(step.entry)
            warnings += step.warnings
            untaken += [step.waiting] if step.waiting else []
            drained &= step.entry.state not in ("cut", "waits") and step.entry.size >= 0
        untaken += left_behind(after, {file.partition for file in files}, self._may_be_gone(untaken))
        return Discovery(spans, after, warnings, drained, untaken)

    def _look(self, file: FileState, known: Entry | None, left: int) -> Step:
        """Look into a file, or remember what the last look gave if it was nothing and nothing has changed since."""
        quiet = self._is_quiet(file)
        last = self._seen[file.partition]
        if last.step and (last.known, last.quiet) == (known, quiet):
            return last.step
        step = look(format_of(self.config, file.partition), file, known, left, self._is_quiet)
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

    def _may_be_gone(self, untaken: list[Untaken]) -> Callable[[str], bool]:
        """Tell what was removed from what lies in a folder that may not be entered now, or is another source's."""
        closed = tuple(f"{each.partition}/" for each in untaken if each.reason == "closed_folder")
        return lambda partition: self.names(partition) and not partition.startswith(closed or ("\0",))

    def names(self, partition: str) -> bool:
        """Say whether a file is one that the patterns match."""
        return is_named(self.config.patterns, partition)

    def missing(self) -> str | None:
        """Say that no file matches, unless it may be waited for."""
        passed: list[Untaken] = []
        if self.config.wait or list_files(self.config.patterns, passed):
            return None
        said = f"sources.{self.label}.{self.config.describe()} matches no file"
        if passed:
            return f"{said} that may be read: {_passed(passed[0])}"
        for pattern in self.config.patterns:
            if meant := as_written(pattern):
                return f"{said}; brackets are wildcards in it: write {meant} for the folder or file of that name"
        return f"{said}; check the path, or set sources.{self.label}.wait=true to start before data arrives"

    def size_of(self, span: Span) -> int:
        """Tell how many bytes a span takes; of Parquet, unpacked, as its footer says."""
        if format_of(self.config, span.partition) != "parquet":
            return span.end - span.start
        return size_of_rows(span, self.config.text)

    def read(self, span: Span) -> Iterator[pa.RecordBatch]:
        """Read exactly the span's records; what is wrong with one of them quarantines only that one."""
        fields = (self.config.text, self.config.time, self.config.id)
        limit = self.config.max_record_bytes
        kind = format_of(self.config, span.partition)
        try:
            here = replace(span, partition=where_it_is(span))
            if kind == "jsonl":
                yield from read_lines(here, fields, limit)
            else:
                yield from read_parquet(here, fields, limit) if kind == "parquet" else _read_text(here, limit)
        except OSError as error:  # pyarrow names a folder by a bare OSError
            if is_local(span.partition) and Path(span.partition).is_dir():
                raise IsADirectoryError(errno.EISDIR, "it is a folder now", span.partition) from error
            raise


def _passed(each: Untaken) -> str:
    what = PASSED[each.reason]
    return f"{what[0]} {each.partition} {what[1]}"


def _is_of_the_file(error: OSError, partition: str) -> bool:
    """Tell what is wrong with one file from what is wrong with the machine, or the way to a bucket."""
    if is_local(partition):
        return error.errno not in MACHINE_ERRORS
    return isinstance(error, PermissionError) or "ACCESS_DENIED" in str(error)


def _read_text(span: Span, limit: int) -> Iterator[pa.RecordBatch]:
    rows = Rows(span.first_record)
    data, reason = b"", None
    try:
        for block in blocks(span.partition, span.start, span.end):
            data += block
            if len(data) > limit:
                reason = "oversized"
                break
    except TornError as error:
        reason = str(error)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        reason = reason or "bad_utf8"
    if reason:
        rows.quarantine(reason, data, len(data))
    else:
        rows.add(text, None, None, len(data))
    yield rows.take()
