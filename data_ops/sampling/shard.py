"""What does one shard of the reservoir hold, and how does it come back after a crash?

The documents whose id hashes to this shard: one sketch per half-life and, for the sampled ones, their place and
tokens. A shard is a pure function of (lake, settings, frontier of whole windows): `advance` reads what it lacks from
the lake, so a shard that died is simply advanced again from nothing, and advancing twice changes nothing. Price: every
shard reads all windows and keeps its part; where the sources of a run lie apart, a window is read for each.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_ops.documents.document import DOCUMENT_SCHEMA
from data_ops.documents.frontier import Frontier
from data_ops.documents.place import Documents, Place
from data_ops.kernels.arrays import Ids, ids_to_array
from data_ops.kernels.id_sets import is_member
from data_ops.lake.lake import Lake
from data_ops.sampling.reservoir import Reservoir, ReservoirConfig, ReservoirState

COLUMNS = ["id", "window", "position", "num_tokens", "event_time", "weight", "source", "tokens"]
ROWS_AT_ONCE = 100_000  # how much of the log is held in memory while a shard catches up


@dataclass(frozen=True)
class Sample:
    """The merged sample of all shards: documents ordered by id, and one fingerprint over all half-lives."""

    documents: Documents
    fingerprint: str
    sources: npt.NDArray[np.object_] = field(default_factory=lambda: np.empty(0, object))  # labels

    def without(self, sources: Collection[str]) -> "Sample":
        """The documents of all other sources, under the same fingerprint."""
        if not sources:
            return self
        keep = ~np.isin(self.sources.astype(str), list(sources))
        return Sample(self.documents.take(keep), self.fingerprint, self.sources[keep])


class Shard:
    """Shard `number` of `config.shards`, as of the last window it was advanced to."""

    def __init__(self, lake: Lake, config: ReservoirConfig, seed: int, number: int) -> None:
        self.lake, self.number, self.num_shards = lake, number, config.shards
        self.config, self.seed = config, seed
        self._begin()

    def _begin(self) -> None:
        """Stand before the first window."""
        self.reached, self.sketches = Frontier(), new_sketches(self.config, self.seed)
        self.rows = pa.schema([DOCUMENT_SCHEMA.field(c) for c in COLUMNS]).empty_table()
        self.rows = self.rows.set_column(0, "id", pa.array([], pa.binary()))

    def advance(self, upto: Frontier) -> None:
        """Fold in all whole windows up to a frontier that are not folded in yet, source by source."""
        for begin, end in self._missing(upto):
            rows = self.lake.documents(begin, end, COLUMNS, ["kept"])
            stage = _clipped(self.reached, upto, end + 1)
            self._fold(rows.filter(pa.array(_between(rows, self.reached, stage))))
            self.reached = stage

    def _missing(self, upto: Frontier) -> Iterator[tuple[int, int]]:
        """First and last window of each stretch that is to be read, in order."""
        labels = sorted({*self.reached.ahead, *upto.ahead})
        ends = [(self.reached.base.window, upto.base.window)]
        ends += [(self.reached.of(label).window, upto.of(label).window) for label in labels]
        edges = sorted({edge for end in ends for edge in end})
        for first, behind in pairwise(edges):
            if any(low <= first and behind <= high for low, high in ends):
                yield from self.lake.stretches(first, behind - 1, ROWS_AT_ONCE)

    def _fold(self, rows: pa.Table) -> None:
        """Let documents into the sketches, and keep the rows of those that are sampled."""
        ids = ids_to_array(rows["id"].combine_chunks())
        mine = ids[:, 1] % np.uint64(self.num_shards) == np.uint64(self.number)
        rows, ids = rows.filter(pa.array(mine)), ids[mine]
        times_s = event_seconds(rows["event_time"])
        for sketch in self.sketches:
            sketch.add(ids, times_s, rows["weight"].to_numpy().astype(np.float64))
        self.rows = self._sampled(pa.concat_tables([self.rows, rows]) if self.rows.num_rows else rows)

    def state(self, upto: Frontier) -> tuple[list[ReservoirState], pa.Table]:
        """Give this shard's sketches and the places of what they hold, as of a frontier.

        For one that is behind, as a round before a decay branch is, the log is read anew from its start.
        """
        if not self.reached.is_behind(upto):
            self._begin()
        self.advance(upto)
        return [sketch.state_dict() for sketch in self.sketches], self.rows.drop_columns(["tokens"])

    def tokens(self, ids: Ids) -> tuple[Ids, pa.ListArray]:
        """Give the tokens of those of these documents that this shard holds."""
        have = ids_to_array(self.rows["id"].combine_chunks())
        mine = np.flatnonzero(is_member(have, ids))
        return have[mine], self.rows["tokens"].combine_chunks().take(pa.array(mine))

    def _sampled(self, rows: pa.Table) -> pa.Table:
        held = np.concatenate([sketch.ids for sketch in self.sketches])
        keep = is_member(ids_to_array(rows["id"].combine_chunks()), held)
        return rows.filter(pa.array(keep)).combine_chunks()


def new_sketches(config: ReservoirConfig, seed: int) -> list[Reservoir]:
    """Make one empty sketch per half-life."""
    pairs = zip(config.capacities, config.half_lives_s, strict=True)
    return [Reservoir(capacity, half_life, seed) for capacity, half_life in pairs]


def merge_shards(config: ReservoirConfig, seed: int, states: Iterable[tuple[list[ReservoirState], pa.Table]]) -> Sample:
    """Merge the shards' states into the one sample they are parts of; any order, any number of shards."""
    sketches, tables = new_sketches(config, seed), []
    for shard_states, rows in states:
        tables.append(rows)
        for sketch, state in zip(sketches, shard_states, strict=True):
            sketch.merge(Reservoir.from_state_dict(state))
    fingerprint = "-".join(sketch.fingerprint()[:16] for sketch in sketches)
    rows = pa.concat_tables([t for t in tables if t.num_rows]) if any(t.num_rows for t in tables) else None
    if rows is None:
        return Sample(Documents.empty(), fingerprint)
    sampled = np.concatenate([sketch.sample(sketch.capacity) for sketch in sketches])
    documents = Documents.from_table(rows)
    held = np.flatnonzero(is_member(documents.ids, sampled))
    held = held[np.lexsort((documents.ids[held, 1], documents.ids[held, 0]))]
    sources = np.array(rows["source"].to_pylist(), dtype=object)
    return Sample(documents.take(held), fingerprint, sources[held])


def _clipped(reached: Frontier, upto: Frontier, window: int) -> Frontier:
    """`upto`, but no source further than the start of a window, or than it was reached before."""
    here, labels = Place(window), {*reached.ahead, *upto.ahead}
    places = {label: max(reached.of(label), min(upto.of(label), here)) for label in labels}
    return Frontier.of_places(max(reached.base, min(upto.base, here)), places)


def _between(rows: pa.Table, before: Frontier, behind: Frontier) -> npt.NDArray[np.bool_]:
    """The rows that are behind one frontier and before another."""
    places = [rows[name].to_numpy() for name in ("window", "position")]
    if not (before.ahead or behind.ahead):
        return before.waiting(rows["source"], *places)
    return before.waiting(rows["source"], *places) & ~behind.waiting(rows["source"], *places)


def event_seconds(times: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """Event times as seconds since 1970."""
    micros = pc.cast(times, pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
    return micros.astype(np.float64) * 1e-6
