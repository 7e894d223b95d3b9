"""Which records of which files are new, and what do they say?

A file is a partition, named by its absolute path or URI. A poll lists the files, skips those whose size and
time stand still, and looks into the others (growth.py). Nothing that stands in a file is fatal: a record that cannot
be read is quarantined, and a file that cannot be opened is named, left for later, and tried again at every look.
"""

import csv
import errno
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import msgspec
import pyarrow as pa

from data_ops.sources.conversation_records import conversation_parser
from data_ops.sources.fields import Fields, RecordRows
from data_ops.sources.files.config import FilesConfig
from data_ops.sources.files.entry import Entry
from data_ops.sources.files.formats.content import HEAD_BYTES, Format, UnknownKindError
from data_ops.sources.files.formats.lines import header_of, read_lines
from data_ops.sources.files.formats.parquet import bytes_of, columns_of, read_parquet
from data_ops.sources.files.formats.parquet_file import BadParquetError
from data_ops.sources.files.formats.streams import blocks, head_of
from data_ops.sources.files.formats.tables import column_names, table_parser
from data_ops.sources.files.formats.unpack import Limits, TornError
from data_ops.sources.files.generations import left_behind, where_it_is
from data_ops.sources.files.growth import is_done
from data_ops.sources.files.listing import hint_of, is_local, is_named, list_files
from data_ops.sources.files.looking import Looks, format_of
from data_ops.sources.files.notified.objects import NotifiedObjects
from data_ops.sources.files.notified.reached import BAD, told_message
from data_ops.sources.files.step import damaged, passed_over
from data_ops.sources.files.walk import FileState
from data_ops.sources.json_records import Parse, fields_of, json_parser, parse_document
from data_ops.sources.protocol import Cursor, Discovery, Source, SourceConfig, Span, Untaken

ENOUGH = 500  # objects of a bucket that is not listed to its end
LOOKED_AT = 16  # files, to see which fields their records have
MARKS = re.compile("^\ufeff+", re.MULTILINE)  # of byte order, also where a file was appended to another


class FilesSource(Source):
    """One partition per file, named by its absolute path or URI."""

    CONFIG: ClassVar[type[SourceConfig]] = FilesConfig

    def __init__(self, label: str, config: FilesConfig) -> None:
        self.label = label
        self.config = config.absolute()  # relative patterns mean the folder of whoever opens the source
        self.looks = Looks(label, self.config)
        told = self.config.notifications
        self._notified = NotifiedObjects(label, self.config, told, self.looks) if told else None

    @property
    def fields(self) -> Fields:
        """Where a record keeps its text, time and id."""
        return Fields(self.config.text, self.config.time, self.config.id)

    def discover(self, cursor: Cursor, max_records: int) -> Discovery:
        """List what is new, file by file in the order of their names. Opens only files that changed, or wait.

        A file that cannot be read is named in a warning and keeps its cursor: the next call tries it again. It does
        not hold up a run that waits for the sources to be drained.
        """
        if self._notified is not None:
            return self._notified.discover(cursor, max_records)
        spans: list[Span] = []
        untaken: list[Untaken] = []
        barren: list[str] = []
        files = list_files(self.config.patterns, untaken, barren)
        warnings = [passed_over(each) for each in untaken]
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
            look = self.looks.look(file, known, left)
            untaken += [look.untaken] if look.untaken else []
            warnings += look.warnings
            if (step := look.step) is None:
                continue
            spans += step.spans
            left -= sum(span.num_records for span in step.spans)
            after[file.partition] = [*step.entry]
            drained &= step.entry.state not in ("cut", "waits") and step.entry.size >= 0
        untaken += left_behind(after, {file.partition for file in files}, self._may_be_gone(untaken))
        return Discovery(spans, after, warnings, drained, untaken)

    def _may_be_gone(self, untaken: list[Untaken]) -> Callable[[str], bool]:
        """Tell what was removed from what lies in a folder that may not be entered now, or is another source's."""
        closed = tuple(f"{each.partition}/" for each in untaken if each.reason == "closed_folder")
        return lambda partition: self.names(partition) and not partition.startswith(closed or ("\0",))

    def names(self, partition: str) -> bool:
        """Say whether a file is one that the patterns match, or the queue that tells of files."""
        told = self.config.notifications
        return bool(told and partition == told.queue) or is_named(self.config.patterns, partition)

    def missing(self) -> str | None:
        """Say that no file matches, unless it may be waited for."""
        passed: list[Untaken] = []
        if self._notified is not None and (problem := self._notified.missing()):
            return problem
        if self.config.wait or self._some_files(passed):
            return None
        said = f"sources.{self.label}.{self.config.describe()} matches no file"
        if passed:
            return f"{said} that may be read: {passed_over(passed[0])}"
        if hint := "".join(map(_hint, self.config.patterns)):
            return said + hint
        return f"{said}; check the path, or set sources.{self.label}.wait=true to start before data arrives"

    def _some_files(self, passed: list[Untaken]) -> list[FileState]:
        """List files; of a bucket with notifications, which may be endless, no more than the first pages."""
        return self._notified.first_files(ENOUGH) if self._notified else list_files(self.config.patterns, passed)

    def begin(self, *, follow: bool) -> None:
        """Listen to the queue, if there is one."""
        if self._notified is not None:
            self._notified.begin(follow=follow)

    def acknowledge(self, cursor: Cursor) -> None:
        """Delete the messages of a queue that tell of what is durable. OSError where that fails."""
        if self._notified is not None:
            self._notified.acknowledge(cursor)

    def fields_there(self) -> Sequence[str]:
        """Name the fields of the first records of up to 16 files; those that cannot be read now say nothing."""
        files = self._some_files([])
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
            if span.doubt != BAD and format_of(self.config, span.partition) == "parquet":
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
        if span.doubt == BAD:
            yield _message_row(span)
            return
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


def _message_row(span: Span) -> pa.RecordBatch:
    """Stand in for a message of a queue that is no notification, under its id."""
    rows, (name, sample) = RecordRows(span.first_record), told_message(span)
    rows.quarantine(BAD, sample, span.end - span.start)
    rows.name_last(name)
    return rows.take()


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
