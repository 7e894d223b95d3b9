"""Which rows of a saved dataset are new, and what do they say?

A dataset is one partition, known by its fingerprint (folder.py). Where the folder has another one, it is read from its
beginning: rows that were read before are dropped as duplicates. A look reads the frames of Arrow's files, no text.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, NamedTuple

import msgspec
import pyarrow as pa

from cluster.readable import many
from cluster.storage.retry import retry
from data_ops.sources.dataset.config import DatasetConfig
from data_ops.sources.dataset.folder import (
    DatasetRefusedError,
    SavedDataset,
    UnfinishedError,
    layout,
    saved_dataset,
    schema_of,
)
from data_ops.sources.dataset.frames import BadArrowError
from data_ops.sources.dataset.rows import DatasetMark, read_rows_of
from data_ops.sources.fields import told_absent
from data_ops.sources.protocol import ChangedError, Cursor, Discovery, LossError, Source, SourceConfig, Span, Untaken

QUIET_S = (
    10.0  # that a dataset with a file newer than state.json stays as it is, which then was copied so, and is whole
)
PIECE_ROWS = 5000  # a span holds at most so many, so that several workers can read a file


class DatasetReached(NamedTuple):
    """What the cursor knows of a dataset; a JSON list there."""

    fingerprint: str
    file: int  # in the list of its files
    row: int  # of that file
    num_records: int  # places that were given, of all datasets that had this name
    left: int  # places of this one that were not given yet

    def behind(self, count: int) -> "DatasetReached":
        """Go on behind so many rows of a file."""
        return self._replace(row=self.row + count, num_records=self.num_records + count, left=self.left - count)


class DatasetSource(Source):
    """A dataset that was saved; holds nothing open."""

    CONFIG: ClassVar[type[SourceConfig]] = DatasetConfig

    def __init__(self, label: str, config: DatasetConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self.label = label
        self.config = config.absolute()
        self._clock = clock
        self._seen: tuple[str, float] | None = None  # the fingerprint of the last look, and since when it is that

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_seen": None}  # what a clock said is true in one process

    @property
    def _named(self) -> str:
        return f"sources.{self.label}.{self.config.describe()}"

    @property
    def partition(self) -> str:
        """The folder, with the split where one is named."""
        return self.config.root + (f"/{self.config.split}" if self.config.split else "")

    def discover(self, cursor: Cursor, max_records: int) -> Discovery:
        """List what is new. LossError where another dataset took the place of an unread one, unless accepted."""
        return retry(lambda: self._look(cursor, max_records))

    def _look(self, cursor: Cursor, max_records: int) -> Discovery:
        name = self.partition
        entry = known = msgspec.convert(cursor[name], DatasetReached) if name in cursor else None
        try:
            saved = self._saved()
        except UnfinishedError as error:
            return self._wait(cursor, f"{error}; it is looked for again", drained=True)
        if saved is None:
            return self._wait(
                cursor, f"{self._named}: there is no saved dataset now; it is looked for again", drained=True
            )
        if (entry is None or entry.fingerprint != saved.fingerprint) and not self._is_whole(saved):
            return self._wait(cursor, f"{self._named}: the dataset is being saved; it is waited for", drained=False)
        spans, warnings = list[Span](), list[str]()
        if entry is None or entry.fingerprint != saved.fingerprint:
            if known is not None:
                spans += self._another(known, saved, warnings)
            self._refuse_absent(self._columns(saved))
            total = sum(layout(saved.folder, file, saved.fingerprint).num_places for file in saved.files)
            entry = DatasetReached(saved.fingerprint, 0, 0, known.num_records if known else 0, total)
        left = max_records
        while entry.left and left:
            more, entry = self._step(saved, entry, left, warnings)
            spans += more
            left -= sum(span.num_records for span in more)
        return Discovery(spans, {**cursor, name: [*entry]}, warnings, not entry.left, num_behind=entry.left)

    def _wait(self, cursor: Cursor, told: str, *, drained: bool) -> Discovery:
        """Take nothing, and say for what it is waited."""
        untaken = [Untaken(self.partition, "waiting", "being_saved", 0)]
        return Discovery([], cursor, [told], drained, untaken)

    def _is_whole(self, saved: SavedDataset) -> bool:
        """Was state.json written last, or has nothing changed for a while by our own clock?"""
        if self._seen is None or self._seen[0] != saved.fingerprint:
            self._seen = saved.fingerprint, self._clock()
        return saved.written_s <= saved.saved_s or self._clock() - self._seen[1] >= QUIET_S

    def _saved(self) -> SavedDataset | None:
        try:
            return saved_dataset(self.config)
        except DatasetRefusedError as error:
            raise type(error)(f"{self._named}: {error}") from None

    def _another(self, known: DatasetReached, saved: SavedDataset, warnings: list[str]) -> list[Span]:
        """Tell that another dataset is there now; a record of what was lost with the one before, if anything was."""
        said = (
            f"sources.{self.label}: {self.partition} holds another dataset than before (fingerprint "
            f"{saved.fingerprint} instead of {known.fingerprint})"
        )
        anew = "read from its beginning, and what was read before is dropped as a duplicate"
        if not known.left:
            warnings.append(f"{said}; it is {anew}")
            return []
        lost = f"and {many(known.left, 'row')} of that one were not read"
        if self.config.on_loss == "stop":
            raise LossError(
                f"{said}, {lost}; put it back, or set sources.{self.label}.on_loss=continue to have this one {anew}"
            )
        warnings.append(f"{said}, {lost}; it is {anew}")
        where = (known.num_records, 0, known.num_records, known.num_records + known.left)
        return [Span(self.partition, *where, saved.saved_s, loss="replaced")]

    def _step(
        self, saved: SavedDataset, entry: DatasetReached, most: int, warnings: list[str]
    ) -> tuple[list[Span], DatasetReached]:
        """Take at most `most` places of the file where the entry stands; behind its last one the next file begins."""
        mark, spans = DatasetMark(saved.folder, saved.fingerprint, saved.files[entry.file]), list[Span]()
        places = mark.layout
        end = min(places.num_places, entry.row + most)
        while entry.row < end:
            last = min(end, entry.row + PIECE_ROWS, max(places.num_rows, entry.row + 1))
            where = (entry.num_records, last - entry.row, entry.row, last)
            spans.append(Span(self.partition, *where, saved.saved_s, mark=mark.text))
            entry = entry.behind(last - entry.row)
        if end < places.num_places:
            return spans, entry
        if places.broken:
            warnings.append(f"sources.{self.label}: {places.broken}")
        return spans, entry._replace(file=entry.file + 1, row=0)

    def names(self, partition: str) -> bool:
        """Say whether a partition is our dataset."""
        return partition == self.partition

    def read(self, span: Span) -> Iterator[pa.RecordBatch]:
        """Read the rows of a span. LossError, or ChangedError where a loss is accepted, if another dataset is there."""
        if span.loss:
            return
        saved, mark = self._saved(), DatasetMark.of(span)
        if saved is None or saved.fingerprint != mark.fingerprint:
            gone = f"the dataset {mark.fingerprint} at {span.partition} has gone since its rows were planned"
            if self.config.on_loss == "continue":
                raise ChangedError(gone)
            raise LossError(
                f"sources.{self.label}: {gone}; put it back, or set sources.{self.label}.on_loss=continue to have them "
                "quarantined"
            )
        yield from read_rows_of(span, self.config)

    def size_of(self, span: Span) -> int:
        """Tell about how many bytes the rows of a span take, with all columns."""
        if span.loss:
            return 0
        total = 0
        for batch in DatasetMark.of(span).layout.batches:
            rows = min(span.end, batch.first + batch.num_rows) - max(span.start, batch.first)
            total += -(-(batch.end - batch.start) * max(rows, 0) // max(batch.num_rows, 1))
        return total

    def missing(self) -> str | None:
        """Say that there is no dataset, or that it cannot be read as configured."""
        try:
            saved = self._saved()
            self._refuse_absent(self._columns(saved) if saved else ())
        except OSError as error:
            return str(error)
        if saved is not None or self.config.wait:
            return None
        return (
            f"{self._named} holds no saved dataset (no state.json, nor dataset_dict.json); check the path, write it "
            f"with save_to_disk, or set sources.{self.label}.wait=true to start before it is there"
        )

    def fields_there(self) -> Sequence[str]:
        """Name the columns of the dataset."""
        saved = self._saved()
        return () if saved is None else self._columns(saved)

    def _columns(self, saved: SavedDataset) -> Sequence[str]:
        """Name the columns of a dataset; none where it has no rows or cannot be read, as reading it will say."""
        try:
            first = next(file for file in saved.files)
            return tuple(_paths(schema_of(saved.folder, first, layout(saved.folder, first, saved.fingerprint))))
        except (StopIteration, BadArrowError):
            return ()

    def _refuse_absent(self, columns: Sequence[str]) -> None:
        """Raise DatasetRefusedError where the text is no column."""
        if columns and self.config.conversations is None and self.config.text not in columns:
            raise DatasetRefusedError(f"{self._named}: {told_absent(self.config.text, columns)}")


def _paths(fields: Sequence[pa.Field], above: str = "") -> Iterator[str]:
    for field in fields:
        path = f"{above}{field.name}"
        if pa.types.is_struct(field.type):
            yield from _paths([field.type.field(n) for n in range(field.type.num_fields)], f"{path}.")
        else:
            yield path
