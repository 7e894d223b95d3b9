"""Which records of which files are new, and what do they say?

A file is a partition, named by its absolute path or URI. A poll lists the files, skips those whose size and
time stand still, and looks into the others (growth.py). JSON lines may grow; Parquet and one-document files
arrive once. Nothing that stands in a file is fatal: a record that cannot be read is quarantined, a file that was
rewritten is named, and so is one that cannot be opened: it is left for later, and the others are taken in.
"""

import errno
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from data_ops.sources.fields import Rows
from data_ops.sources.files.config import FilesConfig
from data_ops.sources.files.growth import Entry, Format, is_done, look
from data_ops.sources.files.lines import read_lines
from data_ops.sources.files.listing import is_local, is_named, list_files, split_pattern
from data_ops.sources.files.parquet import read_parquet, size_of_rows
from data_ops.sources.files.streams import TornError, blocks
from data_ops.sources.protocol import Discovery, Source, SourceConfig, Span

#: What is wrong with this machine, not with one file.
MACHINE_ERRORS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
LINE_SUFFIXES = (".jsonl", ".ndjson", ".json")


def format_of(config: FilesConfig, partition: str) -> Format:
    """Tell how a file is read: by the config, else by its suffix."""
    if config.format != "auto":
        return config.format
    name = partition.lower().removesuffix(".gz").removesuffix(".zst")
    if name.endswith(LINE_SUFFIXES):
        return "jsonl"
    return "parquet" if name.endswith(".parquet") else "text"


class FilesSource(Source):
    """One partition per file, named by its absolute path or URI."""

    CONFIG: ClassVar[type[SourceConfig]] = FilesConfig

    def __init__(self, label: str, config: FilesConfig) -> None:
        self.label = label
        # Relative patterns mean the folder of whoever opens the source, wherever it is read.
        absolute = tuple(_absolute(pattern) for pattern in config.patterns)
        self.config = config.model_copy(update={"path": absolute})

    def discover(self, cursor: dict[str, Any], max_records: int) -> Discovery:
        """List what is new, file by file in the order of their names. Opens only files that changed.

        A file that cannot be read is named in a warning and keeps its cursor: the next call tries it again. It does
        not hold up a run that waits for the sources to be drained.
        """
        spans: list[Span] = []
        closed: list[str] = []
        after = dict(cursor)
        left, drained, now = max_records, True, time.time()
        files = list_files(self.config.patterns, closed)
        warnings = [_left("folder", folder, "permission is denied") for folder in closed]
        for file in files:
            known = Entry(*cursor[file.partition]) if file.partition in cursor else None
            if known and is_done(known, file):
                continue
            if left == 0:
                drained = False
                break
            # abs: a time in the future, of a clock ahead of ours, must not wait until that time has come.
            settled = abs(now - file.modified_s) >= self.config.settle or not is_local(file.partition)
            try:
                step = look(format_of(self.config, file.partition), file, known, left, settled)
            except FileNotFoundError:
                continue  # removed since it was listed
            except OSError as error:
                if not _is_of_the_file(error, file.partition):
                    raise
                warnings.append(_left("file", file.partition, error.strerror or str(error)))
                continue
            spans += step.spans
            left -= sum(span.num_records for span in step.spans)
            after[file.partition] = list(step.entry)
            warnings += [step.warning] if step.warning else []
            drained &= step.entry.state not in ("cut", "waits")
        return Discovery(spans, after, warnings, drained)

    def names(self, partition: str) -> bool:
        """Say whether a file is one that the patterns match."""
        return is_named(self.config.patterns, partition)

    def missing(self) -> str | None:
        """Say that no file matches, unless it may be waited for."""
        if self.config.wait or list_files(self.config.patterns):
            return None
        return (
            f"sources.{self.label}.{self.config.describe()} matches no file; check the path, or set "
            f"sources.{self.label}.wait=true to start before data arrives"
        )

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
            if kind == "jsonl":
                yield from read_lines(span, fields, limit)
            else:
                yield from read_parquet(span, fields, limit) if kind == "parquet" else _read_text(span, limit)
        except OSError as error:  # pyarrow names a folder by a bare OSError
            if is_local(span.partition) and Path(span.partition).is_dir():
                raise IsADirectoryError(errno.EISDIR, "it is a folder now", span.partition) from error
            raise


def _left(what: str, name: str, why: str) -> str:
    return f"{what} {name} cannot be read and is left for later ({why}); make it readable, it is tried again"


def _is_of_the_file(error: OSError, partition: str) -> bool:
    """Tell what is wrong with one file from what is wrong with the machine, or the way to a bucket."""
    if is_local(partition):
        return error.errno not in MACHINE_ERRORS
    return isinstance(error, PermissionError) or "ACCESS_DENIED" in str(error)


def _absolute(pattern: str) -> str:
    scheme, path = split_pattern(pattern)
    return path if scheme == "file" else f"{scheme}://{path}"


def _read_text(span: Span, limit: int) -> Iterator[pa.RecordBatch]:
    rows = Rows(span.first_record)
    data, reason = b"", None
    try:
        for block in blocks(span.partition, 0, span.end):
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
