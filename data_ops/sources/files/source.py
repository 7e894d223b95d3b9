"""Which records of which files are new, and what do they say?

A file is a partition, named by its absolute path or URI. A poll lists the files, skips those whose size and
time stand still, and looks into the others (growth.py). Nothing that stands in a file is fatal: a record that cannot
be read is quarantined, and a file that cannot be opened is named, left for later, and tried again at every look.
"""

import csv
import errno
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, NamedTuple

import msgspec
import pyarrow as pa

from data_ops.sources.conversation_records import conversation_parser
from data_ops.sources.fields import Fields, RecordRows
from data_ops.sources.files.config import FilesConfig
from data_ops.sources.files.entry import Entry
from data_ops.sources.files.formats.content import HEAD_BYTES, FileKind, Format, UnknownKindError, sniffed_format
from data_ops.sources.files.formats.lines import header_of, read_lines
from data_ops.sources.files.formats.parquet import bytes_of, columns_of, read_parquet
from data_ops.sources.files.formats.parquet_file import BadParquetError
from data_ops.sources.files.formats.streams import blocks, head_of, packing_of
from data_ops.sources.files.formats.tables import column_names, table_parser
from data_ops.sources.files.formats.unpack import Limits, TornError
from data_ops.sources.files.generations import left_behind, where_it_is
from data_ops.sources.files.growth import is_done, look_at
from data_ops.sources.files.listing import hint_of, is_local, is_named, list_files
from data_ops.sources.files.step import Step, damaged
from data_ops.sources.files.walk import FileState
from data_ops.sources.json_records import Parse, fields_of, json_parser, parse_document
from data_ops.sources.protocol import Cursor, Discovery, Source, SourceConfig, Span, Untaken

LOOKED_AT = 16  # files, to see which fields their records have
#: What is wrong with this machine, not with one file.
MACHINE_ERRORS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
MARKS = re.compile("^\ufeff+", re.MULTILINE)  # of byte order, also where a file was appended to another
MEND = "make it readable, it is tried again"
PASSED = {  # what is not read, by reason, as the beginning and the end of a sentence
    "closed_folder": ("folder", "cannot be read and is left for later (permission is denied); " + MEND),
    "folder_link": ("the link", "leads to a folder and is not followed; name that folder in the path to have it read"),
    "outside_link": (
        "the link",
        "leads out of the folder where the path begins and is not read; name its target in the path to have it read",
    ),
    "odd_key": ("the object", "is not read, parts of its key are empty, . or ..; copy it to a key without them"),
    "unreadable_name": ("the file", "is not read, its name is no UTF-8; rename it"),
    "dead_link": ("the link", "leads to nothing and is left for later; bring its target, or remove the link"),
    "no_file": ("what is called", "is not read, it is a FIFO, a socket or a device; name it so that it does not match"),
}


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


class FilesSource(Source):
    """One partition per file, named by its absolute path or URI."""

    CONFIG: ClassVar[type[SourceConfig]] = FilesConfig

    def __init__(self, label: str, config: FilesConfig) -> None:
        self.label = label
        self.config = config.absolute()  # relative patterns mean the folder of whoever opens the source
        self.clock: Callable[[], float] = time.monotonic
        self._seen: dict[str, _Seen] = {}

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_seen": {}}  # what a clock said is true in one process

    @property
    def fields(self) -> Fields:
        """Where a record keeps its text, time and id."""
        return Fields(self.config.text, self.config.time, self.config.id)

    def discover(self, cursor: Cursor, max_records: int) -> Discovery:
        """List what is new, file by file in the order of their names. Opens only files that changed, or wait.

        A file that cannot be read is named in a warning and keeps its cursor: the next call tries it again. It does
        not hold up a run that waits for the sources to be drained.
        """
        spans: list[Span] = []
        untaken: list[Untaken] = []
        barren: list[str] = []
        files = list_files(self.config.patterns, untaken, barren)
        warnings = [_passed(each) for each in untaken]
        if files and not self.config.wait:
            warnings += [f"sources.{self.label}: {path} matches no file{_hint(path)}" for path in barren]
        after, left, drained = dict(cursor), max_records, True
        for file in files:
            known = msgspec.convert(cursor[file.partition], Entry) if file.partition in cursor else None
            if known and is_done(known, file):
                untaken += [damaged(file)] if known.state == "damaged" else []
                continue
            if left == 0:
                drained = False
                break
            try:
                step = self._look(file, known, left)
            except FileNotFoundError:
                continue  # removed since it was listed
            except UnknownKindError as error:
                untaken.append(Untaken(file.partition, "skipped", "unknown_kind", file.size))
                warnings.append(f"file {file.partition} is left out: {str(error).replace('<label>', self.label)}")
                continue
            except OSError as error:
                if not _is_of_the_file(error, file.partition):
                    raise
                why = error.strerror or str(error)
                untaken.append(Untaken(file.partition, "unreadable", "unreadable_file", file.size))
                warnings.append(f"file {file.partition} cannot be read and is left for later ({why}); {MEND}")
                continue
            spans += step.spans
            left -= sum(span.num_records for span in step.spans)
            after[file.partition] = [*step.entry]
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
        if hint := "".join(map(_hint, self.config.patterns)):
            return said + hint
        return f"{said}; check the path, or set sources.{self.label}.wait=true to start before data arrives"

    def fields_there(self) -> Sequence[str]:
        """Name the fields of the first records of up to 16 files; those that cannot be read now say nothing."""
        files = list_files(self.config.patterns)
        names: dict[str, None] = {}
        for file in files[:: max(1, len(files) // LOOKED_AT)][:LOOKED_AT]:
            try:
                kind = format_of(self.config, file.partition)
                if kind == "parquet":
                    names |= dict.fromkeys(columns_of(file.partition))
                elif kind in ("csv", "tsv"):
                    names |= dict.fromkeys(column_names(*header_of(file.partition, kind, self.config.limits)))
                elif kind == "jsonl":
                    names |= dict.fromkeys(fields_of(_whole_lines(head_of(file.partition, self.config.limits))))
            except (UnknownKindError, BadParquetError, UnicodeDecodeError, csv.Error, OSError):
                continue
        return tuple(names)

    def size_of(self, span: Span) -> int:
        """Tell how many bytes a span takes; of Parquet, unpacked, as its footer says."""
        try:
            if format_of(self.config, span.partition) == "parquet":
                return bytes_of(span, self.fields)
        except (UnknownKindError, FileNotFoundError):
            pass  # reading the file will say so
        return span.end - span.start

    def _parser(self, partition: str, kind: Format) -> Parse:
        conversations = self.config.conversations
        if kind in ("csv", "tsv"):
            return table_parser(*header_of(partition, kind, self.config.limits), self.fields, conversations)
        if conversations is not None:
            return conversation_parser(conversations, self.config.time, self.config.id)
        return parse_document if kind == "lines" else json_parser(self.fields)

    def read(self, span: Span) -> Iterator[pa.RecordBatch]:
        """Read exactly the span's records; what is wrong with one of them quarantines only that one."""
        fields, limits = self.fields, self.config.limits
        try:
            here = replace(span, partition=where_it_is(span))
            kind = format_of(self.config, here.partition)
            if kind == "parquet":
                yield from read_parquet(here, fields, limits, self.config.conversations)
            elif kind == "text":
                yield from _read_text(here, limits)
            else:
                yield from read_lines(here, self._parser(here.partition, kind), limits, kind)
        except UnknownKindError:  # planned by a version that read it as prose
            yield from _read_text(span, limits)
        except OSError as error:  # pyarrow names a folder by a bare OSError
            if is_local(span.partition) and Path(span.partition).is_dir():
                raise IsADirectoryError(errno.EISDIR, "it is a folder now", span.partition) from error
            raise


def _hint(pattern: str) -> str:
    return f"; {hint}" if (hint := hint_of(pattern)) else ""


def _whole_lines(head: bytes) -> list[bytes]:
    return (head if len(head) < HEAD_BYTES else head.rpartition(b"\n")[0]).split(b"\n")


def _passed(each: Untaken) -> str:
    what = PASSED[each.reason]
    return f"{what[0]} {each.partition} {what[1]}"


def _is_of_the_file(error: OSError, partition: str) -> bool:
    """Tell what is wrong with one file from what is wrong with the machine, or the way to a bucket."""
    if is_local(partition):
        return error.errno not in MACHINE_ERRORS
    return isinstance(error, PermissionError) or "ACCESS_DENIED" in str(error)


def _read_text(span: Span, limits: Limits) -> Iterator[pa.RecordBatch]:
    rows = RecordRows(span.first_record)
    data, reason, sample = b"", None, b""
    try:
        for block in blocks(span.partition, span.start, span.end, limits):
            data += block
            if len(data) > limits.record_bytes:
                reason = "oversized"
                break
    except TornError as error:
        reason, sample = error.reason, error.sample.encode()
    try:
        text = MARKS.sub("", data.decode())
    except UnicodeDecodeError:
        reason = reason or "bad_utf8"
    if reason:
        rows.quarantine(reason, sample or data, len(data))
    else:
        rows.add(text, None, None, len(data))
    yield rows.take()
