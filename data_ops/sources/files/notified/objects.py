"""Which objects of a bucket are new, if a queue tells of them?

A notification is a hint, the object itself is what is looked at: so one that comes twice, late, out of order or for
what is read already changes nothing, and the cursor is that of any source of files. The sweep finds what no
notification told. A message is deleted once nothing more is to be had of the objects that it names, by a cursor that is
durable (post.py); what names none and is none of S3's is quarantined with its id.
"""

import logging
from collections.abc import Iterable
from importlib.util import find_spec
from itertools import islice
from typing import NamedTuple

import msgspec

from cluster.storage.retry import retry
from data_ops.sources.files.config import FilesConfig
from data_ops.sources.files.entry import Entry, is_file
from data_ops.sources.files.generations import left_behind
from data_ops.sources.files.growth import is_done
from data_ops.sources.files.listing import is_named, states
from data_ops.sources.files.looking import Look, Looks
from data_ops.sources.files.notified.config import NotificationsConfig
from data_ops.sources.files.notified.post import Post
from data_ops.sources.files.notified.reached import MOST_A_WINDOW, QueueReached, SweepPlace, span_of_message
from data_ops.sources.files.notified.sweep import Sweep
from data_ops.sources.files.step import damaged, passed_over
from data_ops.sources.files.walk import FileState
from data_ops.sources.protocol import Cursor, Discovery, Span, Untaken

logger = logging.getLogger(__name__)
PAGES_A_LOOK = 10  # of a listing
MOST_OPEN = 2000  # objects that wait for a window, until no further page is listed
TELLING = ("cut", "waits", "stalled", "damaged")  # states of an entry that are told of, or looked at again


class _Remembered(NamedTuple):
    """What a look gave, of which object, known as what: an object does not change without another time or size."""

    file: FileState
    known: Entry | None
    look: Look


class NotifiedObjects:
    """The objects of one source, as far as this process has heard of them."""

    def __init__(self, label: str, config: FilesConfig, notifications: NotificationsConfig, looks: Looks) -> None:
        self.label = label
        self.config = config
        self.notifications = notifications
        self.looks = looks
        self.post = Post(label, config.patterns, notifications)
        self._follows = True
        self._sweep: Sweep | None = None
        self._open: dict[str, FileState] = {}  # objects of which more may be had
        self._noted: dict[str, Entry] = {}  # entries of objects that gave no record, until they are durable
        self._untaken: dict[str, Untaken] = {}
        self._watched: set[str] = set()  # partitions whose entries tell of something untaken
        self._looked: dict[str, _Remembered] = {}
        self._warnings: dict[str, None] = {}

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.label, self.config, self.notifications, self.looks)  # what was heard is one process's

    def begin(self, *, follow: bool) -> None:
        """Receive messages from now on, and delete those that a cursor settles."""
        self._follows = follow
        self._warn(*self.post.begin())

    def first_files(self, count: int) -> list[FileState]:
        """List the first files there are, and no page more than that takes."""
        sweep = Sweep(self.config.patterns, self.notifications.sweep, SweepPlace())
        found: list[FileState] = []
        while not sweep.has_listed and len(found) < count:
            found += sweep.turn()
        return list(islice(found, count))

    def missing(self) -> str | None:
        """Say that boto3 is not installed, or what is wrong with the queue."""
        if find_spec("boto3") is None:
            return f"sources.{self.label}.notifications need boto3, which is not installed; pip install 'headrace[s3]'"
        problem = self.post.check()
        return f"sources.{self.label}.notifications: {problem}" if problem else None

    def discover(self, cursor: Cursor, max_records: int) -> Discovery:
        """List what is new in the objects that were named, and in those that the sweep has come to."""
        reached = QueueReached.of(cursor.get(self.notifications.queue))
        sweep = self._sweep or self._start(cursor, reached)
        self._settle(cursor, reached)
        self._receive(cursor, reached.recent)
        for _ in range(PAGES_A_LOOK):
            if sweep.has_listed or len(self._open) >= MOST_OPEN:
                break
            self._add(sweep.turn(), cursor)
        self._pass(sweep.passed)
        after: Cursor = {**cursor, **{name: [*entry] for name, entry in self._noted.items()}}
        spans, reached = self._quarantined(reached, max_records)
        more, is_cut = self._look(after, max_records - len(spans))
        open_now = {name for name in self._open if not _is_over(after, name, self._open[name])}
        place = sweep.place(lambda name: name not in open_now or self._is_left(name))
        after[self.notifications.queue] = reached._replace(sweep=place).state
        drained = not is_cut and place.number >= len(self.config.patterns) and len(spans) == len(self.post.strange)
        drained &= not open_now - self._untaken.keys()
        return Discovery(spans + more, after, list(self._warnings), drained, self._all_untaken(after))

    def acknowledge(self, cursor: Cursor) -> None:
        """Delete the messages whose objects are durable to their end. OSError where that fails."""
        self._forget(cursor, QueueReached.of(cursor.get(self.notifications.queue)))
        self.post.release(self._open.__contains__)

    def _start(self, cursor: Cursor, reached: QueueReached) -> Sweep:
        """Begin a sweep, at the beginning where it is asked whether all is taken, and look at what is half read."""
        place = reached.sweep if self._follows else SweepPlace()
        self._sweep = Sweep(self.config.patterns, self.notifications.sweep, place)
        entries = {name: msgspec.convert(state, Entry) for name, state in cursor.items() if is_file(name)}
        self._watched = {name for name, entry in entries.items() if entry.skipped or entry.abandoned}
        telling = [name for name, entry in entries.items() if entry.state in TELLING]
        again = [name for name in telling if is_named(self.config.patterns, name)]
        self._watched |= set(again)
        found = retry(lambda: states(again))
        self._add(found, cursor)
        for file in found:
            if entries[file.partition].state == "damaged" and is_done(entries[file.partition], file):
                self._untaken[file.partition] = damaged(file)
        return self._sweep

    def _is_left(self, name: str) -> bool:
        """Say whether an object is open and yet waited for by nobody: it cannot be read now."""
        return name in self._untaken and self._untaken[name].state == "unreadable"

    def _settle(self, cursor: Cursor, reached: QueueReached) -> None:
        """Take in what the cursor says, and delete messages; what fails there is tried again at the next look."""
        self._forget(cursor, reached)
        if self._sweep is not None:
            self._sweep.settle(lambda name: name not in self._open or self._is_left(name))
        try:
            self.post.release(self._open.__contains__)
        except OSError as error:
            logger.warning("messages of sources.%s are deleted later (%s)", self.label, error)

    def _forget(self, cursor: Cursor, reached: QueueReached) -> None:
        for name in [n for n, file in self._open.items() if _is_over(cursor, n, file)]:
            del self._open[name]
            self._looked.pop(name, None)
        for name in [n for n, entry in self._noted.items() if cursor.get(n) == [*entry]]:
            del self._noted[name]
        self.post.settle(reached.recent)

    def _receive(self, cursor: Cursor, recent: tuple[str, ...]) -> None:
        """Look at the objects that new messages name, all at once."""
        delivery = self.post.receive(recent)
        self._pass(delivery.passed)
        self._warn(*delivery.warnings)
        found = retry(lambda: states(list(delivery.named)))
        self._add(found, cursor)
        for name in delivery.named.keys() - {file.partition for file in found} - cursor.keys():
            self._miss(name, delivery.named[name].size_bytes)

    def _miss(self, name: str, num_bytes: int) -> None:
        """Note what was notified and gone when it was looked at."""
        self._untaken[name] = Untaken(name, "skipped", "gone_at_look", num_bytes)
        self._warn(f"sources.{self.label}: {name} was notified, and gone when it was looked at; it is not read")

    def _add(self, files: Iterable[FileState], cursor: Cursor) -> None:
        for file in files:
            if self._untaken.get(file.partition, _NOTHING).reason == "gone_at_look":
                del self._untaken[file.partition]
            noted = self._noted.get(file.partition)
            is_stalled = noted is not None and (noted.size, noted.modified_ns) == (file.size, file.modified_ns)
            if not is_stalled and not _is_over(cursor, file.partition, file):
                self._open[file.partition] = file

    def _quarantined(self, reached: QueueReached, room: int) -> tuple[list[Span], QueueReached]:
        """Plan a place for each message that is no notification."""
        some = list(self.post.strange.values())[: min(room, MOST_A_WINDOW)]
        queue, first = self.notifications.queue, reached.num_records
        spans = [span_of_message(queue, first + n, m.id, m.body, m.sent_s) for n, m in enumerate(some)]
        return spans, reached.behind([message.id for message in some])

    def _look(self, after: Cursor, room: int) -> tuple[list[Span], bool]:
        """Look into the open objects by name and move `after`; the spans, and whether there was no room for more."""
        spans: list[Span] = []
        for file in sorted(self._open.values()):
            if room <= 0:
                return spans, True
            name = file.partition
            known = msgspec.convert(after[name], Entry) if name in after else None
            look = self._looked_at(file, known, room)
            self._untaken.pop(name, None)
            if look.untaken:
                self._untaken[name] = look.untaken
            self._warn(*look.warnings)
            if look.step is None:
                self._leave(file, look)
                continue
            entry = look.step.entry
            after[name] = [*entry]
            spans += look.step.spans
            room -= sum(span.num_records for span in look.step.spans)
            if entry.skipped or entry.abandoned or entry.state in TELLING:
                self._watched.add(name)
            if not look.step.spans and entry.state != "cut":
                self._noted[name] = entry
                del self._open[name]
        return spans, False

    def _leave(self, file: FileState, look: Look) -> None:
        """Leave out what gave no step: gone, of no kind that is read, or unreadable now, which is tried again."""
        if look.untaken is None:
            del self._open[file.partition]
            if file.partition not in self._watched:
                self._miss(file.partition, file.size)
        elif look.untaken.state == "skipped":
            del self._open[file.partition]

    def _looked_at(self, file: FileState, known: Entry | None, room: int) -> Look:
        last = self._looked.get(file.partition)
        if last and (last.file, last.known) == (file, known) and last.look.step:
            step = last.look.step
            if step.entry.state != "cut" and sum(span.num_records for span in step.spans) <= room:
                return last.look
        look = self.looks.look(file, known, room)
        self._looked[file.partition] = _Remembered(file, known, look)
        return look

    def _pass(self, passed: Iterable[Untaken]) -> None:
        for each in passed:
            self._untaken[each.partition] = each
            self._warn(passed_over(each))

    def _warn(self, *texts: str) -> None:
        self._warnings.update(dict.fromkeys(texts))

    def _all_untaken(self, after: Cursor) -> list[Untaken]:
        """All that was seen and is not read."""
        watched: Cursor = {name: after[name] for name in sorted(self._watched) if name in after}
        there = {name for name in self._watched if name in self._open or name in self._untaken or name in self._noted}
        return [*self._untaken.values(), *left_behind(watched, there, lambda name: True)]


_NOTHING = Untaken("", "waiting", "", 0)


def _is_over(cursor: Cursor, name: str, file: FileState) -> bool:
    """Say whether a cursor knows an object as it is now to its end."""
    return name in cursor and is_done(msgspec.convert(cursor[name], Entry), file)
