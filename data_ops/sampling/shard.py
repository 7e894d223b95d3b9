"""What does one shard of the reservoir hold, and how does it come back after a crash?

The documents whose id hashes to this shard: one sketch per half-life and, for the sampled ones, their place and
tokens. A shard is a pure function of (lake, settings, last window): `advance` reads what it lacks from the lake, so
a shard that died is simply advanced again from nothing, and advancing twice changes nothing. Price: every shard
reads all windows and keeps its part.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_ops.documents.document import DOCUMENT_SCHEMA
from data_ops.documents.place import Documents
from data_ops.kernels.arrays import Ids, ids_to_array
from data_ops.kernels.id_sets import is_member
from data_ops.lake.lake import Lake
from data_ops.sampling.reservoir import Reservoir, ReservoirConfig

COLUMNS = ["id", "window", "position", "num_tokens", "event_time", "weight", "tokens"]
ROWS_AT_ONCE = 100_000  # how much of the log is held in memory while a shard catches up


@dataclass(frozen=True)
class Sample:
    """The merged sample of all shards: documents ordered by id, and one fingerprint over all half-lives."""

    documents: Documents
    fingerprint: str


class Shard:
    """Shard `number` of `config.shards`, as of the last window it was advanced to."""

    def __init__(self, lake: Lake, config: ReservoirConfig, seed: int, number: int) -> None:
        self.lake, self.number, self.num_shards = lake, number, config.shards
        self.config, self.seed = config, seed
        self._begin()

    def _begin(self) -> None:
        """Stand before the first window."""
        self.window, self.sketches = -1, new_sketches(self.config, self.seed)
        self.rows = pa.schema([DOCUMENT_SCHEMA.field(c) for c in COLUMNS]).empty_table()
        self.rows = self.rows.set_column(0, "id", pa.array([], pa.binary()))

    def advance(self, window: int) -> None:
        """Fold in every window up to this one that is not folded in yet."""
        for first, last in self.lake.stretches(self.window + 1, window, ROWS_AT_ONCE):
            rows = self.lake.documents(first, last, COLUMNS, ["kept"])
            ids = ids_to_array(rows["id"].combine_chunks())
            mine = ids[:, 1] % np.uint64(self.num_shards) == np.uint64(self.number)
            rows, ids = rows.filter(pa.array(mine)), ids[mine]
            times_s = event_seconds(rows["event_time"])
            for sketch in self.sketches:
                sketch.add(ids, times_s, rows["weight"].to_numpy().astype(np.float64))
            self.rows = self._sampled(pa.concat_tables([self.rows, rows]) if self.rows.num_rows else rows)
            self.window = last

    def state(self, window: int) -> tuple[list[dict[str, Any]], pa.Table]:
        """Give this shard's sketches and the places of what they hold, as of `window`.

        For one that is behind, as a round before a decay branch is, the log is read anew from its start.
        """
        if self.window > window:
            self._begin()
        self.advance(window)
        return [sketch.state_dict() for sketch in self.sketches], self.rows.drop_columns(["tokens"])

    def tokens(self, window: int, ids: Ids) -> tuple[Ids, pa.ListArray]:
        """Give the tokens of those of these documents that this shard holds."""
        self.advance(window)
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


def merge_shards(config: ReservoirConfig, seed: int, states: Iterable[tuple[list[dict[str, Any]], pa.Table]]) -> Sample:
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
    documents = documents.take(is_member(documents.ids, sampled))
    return Sample(documents.take(np.lexsort((documents.ids[:, 1], documents.ids[:, 0]))), fingerprint)


def event_seconds(times: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """Event times as seconds since 1970."""
    micros = pc.cast(times, pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
    return micros.astype(np.float64) * 1e-6
