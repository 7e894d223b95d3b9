"""Which rows of a Delta table are new, and what do they say?

A table is one partition. The first look takes what its newest version holds; from there on its versions are read in
their order, each file row by row. What only moves rows, as OPTIMIZE does, brings no row again. A look reads commits and
footers, never texts. The cursor is a place in the log (reached.py) and lies in the lake's window commits.
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import pyarrow as pa

from cluster.storage.retry import retry
from data_ops.sources.delta.config import DeltaConfig
from data_ops.sources.delta.log import DeltaLog, OpenedTable
from data_ops.sources.delta.look import DeltaLook, TableRefusedError
from data_ops.sources.delta.reached import DeltaReached, FileMark
from data_ops.sources.delta.rows import read_rows, within_file
from data_ops.sources.fields import Fields, told_absent
from data_ops.sources.files.formats.parquet import bytes_of
from data_ops.sources.protocol import ChangedError, Cursor, Discovery, LossError, Source, SourceConfig, Span

TEXT_TYPES = ("string", "binary")
COUNTED = 100  # versions further on whose rows are counted as waiting


class DeltaSource(Source):
    """A Delta table; holds what it knows of the log (log.py) in the process that looks."""

    CONFIG: ClassVar[type[SourceConfig]] = DeltaConfig

    def __init__(self, label: str, config: DeltaConfig) -> None:
        self.label = label
        self.config = config.absolute()
        self._log: DeltaLog | None = None
        self._opened: OpenedTable | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_log": None, "_opened": None}

    @property
    def log(self) -> DeltaLog:
        """The log of the table, as this process knows it."""
        self._log = self._log or DeltaLog(self.config.root)
        return self._log

    @property
    def _named(self) -> str:
        return f"sources.{self.label}.{self.config.describe()}"

    def discover(self, cursor: Cursor, max_records: int) -> Discovery:
        """List what is new, version by version. LossError where something is lost, unless that is accepted."""
        return retry(lambda: self._look(cursor, max_records))

    def _look(self, cursor: Cursor, max_records: int) -> Discovery:
        name = self.config.root
        known = DeltaReached.of(cursor[name]) if name in cursor else None
        is_same = known is not None and known.stamp != "" and self.log.stamp(known.version) == known.stamp
        opened = self._open(is_same=is_same)
        if opened is None:
            told = f"{self._named}: there is no Delta table now; it is looked for again"
            return Discovery([], cursor, [told], drained=True)
        look = DeltaLook(self.label, self.config, self.log, opened, max_records)
        look.begin(known, is_same=is_same)
        drained = look.fill(self.reopen)
        behind = 0 if drained else self._behind(look.entry)
        return Discovery(look.spans, {**cursor, name: look.entry.state}, look.warnings, drained, num_behind=behind)

    def _open(self, *, is_same: bool) -> OpenedTable | None:
        """Look at the table, unless its log is the one that was looked at already."""
        if self._opened is None or not is_same:
            self._opened = self.refuse(self.log.open())
        return self._opened

    def reopen(self) -> OpenedTable:
        """Look at the table anew, because its columns may be others now."""
        opened = self._opened = self.refuse(self.log.open())
        if opened is None:
            raise OSError(f"{self._named}: the table went while it was read; start again")
        return opened

    def refuse(self, opened: OpenedTable | None) -> OpenedTable | None:
        """Raise TableRefusedError where a table cannot be read as it is configured."""
        problem = None if opened is None else self._problem(opened)
        if problem:
            raise TableRefusedError(f"{self._named}: {problem}")
        return opened

    def _problem(self, opened: OpenedTable) -> str | None:
        columns = opened.columns
        if opened.refused:
            return f"{opened.refused}; write the rows into a table without it"
        if self.config.conversations is not None:
            return None
        if self.config.text not in columns:
            return told_absent(self.config.text, list(columns))
        kind, _, is_of_partition = columns[self.config.text]
        if kind not in TEXT_TYPES:
            return f"text={self.config.text} is of type {kind}, which is no text; name a column that holds one"
        if is_of_partition:
            return f"text={self.config.text} is a column of the partition, the same in all rows of a file; name another"
        return None

    def _behind(self, entry: DeltaReached) -> int | None:
        """Count the rows that wait, of some versions; None where their writers do not say."""
        total = -entry.row
        entry = entry.behind_version() if entry.rest == "nothing" else entry
        for _ in range(COUNTED):
            listing = self.log.listing(entry)
            if listing is None:
                break
            counts = [file.num_records for file in listing.commit.files[entry.file :]]
            if None in counts:
                return None
            total += sum(count or 0 for count in counts)
            entry = entry.behind_version()
        return max(total, 0)

    def names(self, partition: str) -> bool:
        """Say whether a partition is our table."""
        return partition == self.config.root

    def read(self, span: Span) -> Iterator[pa.RecordBatch]:
        """Read the rows of a span. LossError, or ChangedError where a loss is accepted, if its file has gone."""
        if span.loss:
            return
        try:
            yield from read_rows(span, self.config)
        except FileNotFoundError as error:
            gone = f"{FileMark.of(span).file.path} of {span.partition} was removed after its rows were planned"
            if self.config.on_loss == "continue":
                raise ChangedError(gone) from error
            raise LossError(
                f"sources.{self.label}: {gone}; restore it, or set sources.{self.label}.on_loss=continue to have them "
                "quarantined"
            ) from error

    def size_of(self, span: Span) -> int:
        """Tell how many bytes the rows of a span unpack to, as their file's footer says."""
        if span.loss or not span.end:
            return 0
        return bytes_of(within_file(span), Fields(self.config.text))

    def missing(self) -> str | None:
        """Say that there is no table, or that it cannot be read as configured."""
        try:
            opened = self.refuse(self.log.open())
        except TableRefusedError as error:
            return str(error)
        except OSError as error:
            return f"{self._named}: {error}"
        if opened is not None or self.config.wait:
            return None
        return (
            f"{self._named} holds no Delta table (no _delta_log); check the path, or set "
            f"sources.{self.label}.wait=true to start before it is there"
        )

    def fields_there(self) -> Sequence[str]:
        """Name the columns of the table."""
        opened = self.log.open()
        return () if opened is None else tuple(opened.columns)
