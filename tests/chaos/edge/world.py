"""What happens at the edge in one seeded run, and does every record come out once?

A source is polled by a clock that the run owns; windows are planned, sometimes something happens, and they are read as
a task of ingest does. Every step writes and does one thing to a file. In the end all writers finish, and what came out
is held against what they meant to write.
"""

import json
import random
import shutil
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from data_ops.sources.files.config import FilesConfig
from data_ops.sources.files.entry import Entry
from data_ops.sources.files.formats.streams import raw_mark
from data_ops.sources.files.source import FilesSource
from data_ops.sources.protocol import Span
from data_ops.sources.quarantine import read_span
from tests.chaos.edge.writers import Lines, Packed, RowGroups, set_clock

SETTLE_S = 5.0
STEPS = 40
NOBODY = 65534


class World:
    """One folder, its writers, and the source that reads it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.rng, self.now = folder, random.Random(seed), 0.0
        self.faults: Counter[str] = Counter()
        made = [(Lines, 3), (Packed, 1), (RowGroups, 2)]
        self.writers = [
            kind(folder / f"{kind.__name__}{number}{kind.suffix}".lower(), random.Random(f"{seed}/{kind}/{number}"))
            for kind, many in made
            for number in range(many)
        ]
        self.config = FilesConfig(
            path=tuple(f"{folder}/*{suffix}" for suffix in (".jsonl", ".jsonl.gz", ".parquet")), settle=SETTLE_S
        )
        self.cursor, self.untaken, self.drained = {}, [], False
        self.rows: list[dict] = []
        self.offsets: dict[str, list[int]] = {}
        self.rotated = 0
        self.restart()

    def restart(self) -> None:
        """A new process: it knows the cursor, and no clock of before."""
        self.source = FilesSource("edge", self.config)
        self.source.looks.clock = lambda: self.now

    def poll(self, between=lambda: None) -> None:
        """Plan a window of some size, let something happen, and read it."""
        found = self.source.discover(json.loads(json.dumps(self.cursor)), self.rng.choice([3, 20, 500]))
        between()
        for span in found.spans:
            rows = [
                row
                for batch in read_span(self.source, Span(**json.loads(json.dumps(asdict(span)))))
                for row in batch.to_pylist()
            ]
            assert len(rows) == span.num_records
            self.offsets.setdefault(span.partition, []).extend(row["offset"] for row in rows)
            self.rows += [{**row, "partition": span.partition} for row in rows]
        self.cursor, self.untaken, self.drained = found.cursor, list(found.untaken), found.drained

    def step(self) -> None:
        """One thing happens, and time goes on: a moment, or minutes."""
        writer = self.rng.choice(self.writers)
        poison = self.rng.random() < 0.4
        writer.write(self.rng.randrange(1, 40), poison)
        self.faults["poison"] += poison
        if getattr(writer, "pending", b"") or isinstance(writer, RowGroups):
            self.faults["unfinished end"] += 1
        in_between = self.rng.random() < 0.3
        choice = [self.clock, self.rotate, self.truncate]
        fault = self.rng.choice(choice if in_between else [*choice, self.unreadable, self.stall, self.new_process])
        if not in_between:
            fault(writer)
        self.poll((lambda: fault(writer)) if in_between else (lambda: None))
        self.now += self.rng.choice([0.2, 3.0, 60.0])

    def clock(self, writer) -> None:
        set_clock(writer.out, self.rng.uniform(-12, 12))
        self.faults["clock of the file server"] += 1

    def unreadable(self, writer) -> None:
        writer.out.chmod(0)
        self.poll()
        writer.out.chmod(0o644)
        self.faults["unreadable for a while"] += 1

    def stall(self, writer) -> None:
        for _ in range(3):
            self.now += 2 * SETTLE_S
            self.poll()
        self.faults["stall"] += 1

    def new_process(self, writer) -> None:
        self.restart()
        self.faults["restart"] += 1

    def rotate(self, writer) -> None:
        """The file is renamed; its writer goes on in it for a moment, and then in a new one."""
        if type(writer) is not Lines or not self._was_seen(writer):
            return
        self.rotated += 1
        old = writer.path.rename(f"{writer.path}.{self.rotated}")
        writer.out = old
        writer.write(3, False)
        writer.flush(len(writer.pending))
        writer.out = writer.path
        writer.path.touch()
        writer.write(self.rng.randrange(1, 9), False)
        self.faults["rotation"] += 1

    def truncate(self, writer) -> None:
        """The file is truncated, with a copy kept beside it or without, and filled anew."""
        if type(writer) is not Lines or not self._was_seen(writer):
            return
        if keeps := self.rng.random() < 0.5:
            writer.flush(len(writer.pending))
            self.rotated += 1
            shutil.copy(writer.path, f"{writer.path}.{self.rotated}")
            self.faults["truncation with a copy"] += 1
        else:
            self.faults["truncation"] += 1
        left = writer.path.read_bytes()
        writer.path.write_bytes(b"")
        if not keeps:
            writer.pending = b""
            entry = Entry(*self.cursor[str(writer.path)])
            writer.must_say |= entry.end > 0 and b"\n" in left[entry.end : entry.size]
            for record in writer.records:
                record.may_be_lost = True
        writer.write(self.rng.randrange(1, 40), False)

    def _was_seen(self, writer) -> bool:
        """Whether a look has met the file that has the name now: what came and went between two looks nobody knows."""
        if str(writer.path) not in self.cursor:
            return False
        entry = Entry(*self.cursor[str(writer.path)])
        return entry.size > 0 and entry.marked > 0 and raw_mark(str(writer.path), entry.marked) == entry.mark

    def finish(self) -> None:
        """All writers end, and the source is polled until nothing more comes."""
        for writer in self.writers:
            writer.finish()
        for _ in range(500):
            self.now += 2.0
            self.poll()
            if self.drained and self.now > 0 and not self.source.looks._seen:
                break
        assert self.drained, "the source is never drained"


def run(folder: Path, seed: int, steps: int = STEPS) -> tuple[Counter[str], list[str]]:
    """Play one seed: how many faults of which kind, and what is wrong afterwards."""
    world = World(folder, seed)
    for _ in range(steps):
        world.step()
    world.finish()
    return world.faults, check(world)


def check(world: World) -> list[str]:
    """Hold what came out against what the writers meant to write; [] if every promise was kept."""
    wrong: list[str] = []
    came = Counter(row["text"] for row in world.rows if row["error"] is None)
    gone = {Path(row["partition"]).name for row in world.rows if row["error"] == "changed_before_read"}
    errors = [row for row in world.rows if row["error"] not in (None, "changed_before_read")]
    bad = Counter(Path(row["partition"]).name for row in errors)
    abandoned = {Path(each.partition).name for each in world.untaken if each.state == "abandoned"}
    for writer in world.writers:
        name = writer.path.name
        for record in writer.records:
            times = came.pop(record.text, 0) if record.is_good else 1
            if times > 1 or (times == 0 and not record.may_be_lost):
                wrong.append(f"{record.text[:40]!r} came {times} times")
        poisoned = sum(not record.is_good for record in writer.records)
        sure = sum(not record.is_good and not record.may_be_lost for record in writer.records)
        torn = world.faults["truncation"]  # each may leave one half line that was given a place
        if not sure <= bad[name] <= poisoned + torn * isinstance(writer, Lines):
            wrong.append(f"{name}: {bad[name]} quarantined, {sure} to {poisoned} were bad")
        if writer.must_say and name not in abandoned | gone:
            wrong.append(f"{name}: records that a look had seen are gone unread and nobody says so")
    wrong += [f"{text[:40]!r} came and was never written" for text in came]
    wrong += [
        f"{name}: ordinals {offsets[:5]}... are not 0, 1, 2, ..."
        for name, offsets in world.offsets.items()
        if offsets != list(range(len(offsets)))
    ]
    waiting = [each for each in world.untaken if each.state in ("waiting", "unreadable")]
    return wrong + [f"{each.partition} still waits ({each.reason})" for each in waiting]
