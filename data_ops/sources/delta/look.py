"""What does one look at a Delta table take, and what does it meet on its way: changed rows, other columns, losses?

What comes before such a thing is taken first: a look that has rows ends before it, and the next one meets it again.
"""

from collections.abc import Callable

from data_ops.sources.delta.actions import DataFile
from data_ops.sources.delta.config import DeltaConfig
from data_ops.sources.delta.log import DeltaLog, Listing, OpenedTable
from data_ops.sources.delta.reached import DeltaReached, FileMark, anew, cut_file, cut_unreadable, delta_start
from data_ops.sources.fields import Fields
from data_ops.sources.files.formats.parquet import row_groups
from data_ops.sources.files.formats.parquet_file import BadParquetError
from data_ops.sources.protocol import LossError, Span

WHY = {
    "created_again": "{table} was deleted and made again after version {version} of it was reached",
    "cut_off": "the log of {table} ends before version {version}, which was reached",
    "trimmed": "the log of {table} does not hold version {version} any more, which was not read to its end",
    "vacuumed": "{file} of version {version} of {table} was removed before its {count} rows were read",
}
GO_ON = {
    "vacuumed": "to go on behind it and have the loss written down",
    "": "to read what the table holds now (what was read before is dropped as a duplicate) and have the loss written "
    "down",
}


class TableRefusedError(OSError):
    """A table cannot be read as it is configured; the sentence says why and what to do."""


class DeltaLook:
    """One look: the spans, the warnings and the place behind them."""

    def __init__(self, label: str, config: DeltaConfig, log: DeltaLog, opened: OpenedTable, max_records: int) -> None:
        self.label, self.config, self.log, self.opened, self.left = label, config, log, opened, max_records
        self.spans, self.warnings = list[Span](), list[str]()
        self.entry = anew(opened.now, 0)

    def begin(self, known: DeltaReached | None, *, is_same: bool) -> None:
        """Start where the cursor says, behind a record of what was lost. is_same: the commit that it knows is there."""
        if known is not None and is_same:
            self.entry = known
            return
        start = delta_start(known, self.opened.now)
        if start.loss and known is not None:
            self.entry = known
            self._lose(start.loss)
        self.entry = start.entry

    def fill(self, reopen: Callable[[], OpenedTable]) -> bool:
        """Take as much as there is and a window takes; say whether it was all. reopen: looks at the table anew."""
        while self.entry.rest == "nothing" or self._take_version(reopen):
            behind = self.entry.behind_version()
            listing = self.log.listing(behind)
            if listing is None and self.opened.now.version < behind.version:
                return True
            if listing is not None and not self._enter(behind.version, listing, reopen):
                return False
            self.entry = behind._replace(table=self.opened.now.table)
        return False

    def _take_version(self, reopen: Callable[[], OpenedTable]) -> bool:
        """Take the files of a version; False where the window is full, or a loss comes behind what is taken."""
        listing = self.log.listing(self.entry)
        if listing is None:
            return self._begin_anew(reopen) and self._take_version(reopen)
        self.entry = self.entry._replace(stamp=listing.stamp)
        if not all(self._take(file) for file in listing.commit.files[self.entry.file :]):
            return False
        self.entry = self.entry._replace(rest="nothing", file=0, row=0)
        return True

    def _enter(self, version: int, listing: Listing, reopen: Callable[[], OpenedTable]) -> bool:
        """Look at what a version does beside bringing rows; False where it is one to stop at, behind what is taken."""
        if listing.commit.takes_away:
            if self.config.on_delete == "stop":
                if self.spans:
                    return False
                raise TableRefusedError(
                    f"sources.{self.label}: version {version} of {self.config.root} deletes or changes rows "
                    f"({listing.commit.takes_away}); set sources.{self.label}.on_delete=ignore to take what is new in "
                    "it and keep what was read before"
                )
            self.warnings.append(
                f"sources.{self.label}: {self.config.root} has versions that delete or change rows; what is new in "
                "them is read, and what was read before stays (headrace forget takes it out)"
            )
        if listing.commit.alters:
            self.opened = reopen()
        return True

    def _take(self, file: DataFile) -> bool:
        """Take rows of a file; False where the window is full, or a loss comes behind what is taken."""
        if self.left == 0:
            return False
        path, name = f"{self.config.root.rstrip('/')}/{file.path}", self.config.root
        mark = FileMark(file, self._stored)
        try:
            groups = row_groups(path, Fields(self.config.text), file.modified_ms / 1000)
        except FileNotFoundError:
            if not self._lose("vacuumed", file):
                return False
            self.entry = self.entry.behind_file()
            return True
        except BadParquetError as error:
            spans, self.entry = cut_unreadable(name, self.entry, mark)
            self.warnings.append(f"sources.{self.label}: {error}")
        else:
            spans, self.entry = cut_file(name, self.entry, mark, [group.num_rows for group in groups], self.left)
        self.spans += spans
        self.left -= sum(span.num_records for span in spans)
        return self.entry.row == 0

    @property
    def _stored(self) -> dict[str, str]:
        """The columns of a record that are called otherwise in the files."""
        spoken = self.config.conversations or ()
        asked = (self.config.text, self.config.time, self.config.id, *spoken)
        there = {name: column for name in asked if name and (column := self.opened.columns.get(name))}
        return {name: column.stored for name, column in there.items() if column.stored != name}

    def _begin_anew(self, reopen: Callable[[], OpenedTable]) -> bool:
        """Begin again with what the table holds now, where the log does not go back to the cursor any more."""
        if not self._lose("trimmed"):
            return False
        self.opened = reopen()
        self.entry = anew(self.opened.now, self.entry.num_records)
        if self.log.listing(self.entry) is None:
            raise OSError(f"sources.{self.label}: version {self.entry.version} of {self.config.root} cannot be listed")
        return True

    def _lose(self, reason: str, file: DataFile | None = None) -> bool:
        """Write a loss down; False where the ingest stops at it, behind what is taken. LossError where nothing is."""
        if self.config.on_loss == "stop" and self.spans:
            return False
        entry, count = self.entry, max((file.num_records or 0) - self.entry.row, 0) if file else 0
        path = file.path if file else ""
        why = WHY[reason].format(table=self.config.root, version=entry.version, file=path, count=count or "unread")
        sentence = f"sources.{self.label}: {why}"
        if self.config.on_loss == "stop":
            go_on = GO_ON.get(reason, GO_ON[""])
            raise LossError(f"{sentence}; set sources.{self.label}.on_loss=continue {go_on}")
        modified_s = file.modified_ms / 1000 if file else 0.0
        where = (entry.num_records, 0, entry.row, entry.row + count)
        self.spans.append(Span(self.config.root, *where, modified_s, loss=reason))
        self.warnings.append(sentence)
        return True
