"""How long does the data side of a resume take, and does it grow with the position?

A lake is grown to 1e4, 1e5 and 1e6 documents of 63 tokens, in windows of 10,000 and rounds of the default size with a
quarter replay, every window and round appended on its own as a run does. At each size a feed that knows nothing loads
the last round: manifest, layout, text, first batch. What a restarted feed does behind the first batch, while the round
trains, is timed beside it: the pending log and the reservoir, which is rebuilt from the lake. Disk caches are warm.
"""

import tempfile
import time
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import ray

from benchmarks.rows import Goal, Row, between
from cluster.session import ClusterConfig, connect
from cluster.storage import Store
from data_ops.document import DOCUMENT_SCHEMA, TIME, array_to_ids
from data_ops.lake import Lake
from data_ops.log import PendingLog
from data_ops.mixture import RoundConfig
from data_ops.packing import pack
from data_ops.places import Documents, Place
from data_ops.reservoir import ReservoirConfig
from data_ops.rounds import Layout, Manifest, Shape
from data_ops.shard import Shard
from data_ops.windows import Window
from ray_jobs.feed import Feed, FeedSettings

RUN, WINDOW, TOKENS, ROW_TOKENS, BATCH_ROWS, SEED = "bench", 10_000, 63, 256, 64, 7
ROUND = RoundConfig()
FRESH = ROUND.fresh_tokens // (TOKENS + 1)
REPLAY = ROUND.tokens // (TOKENS + 1) - FRESH
PARTS = {
    "manifest": "position and manifest",
    "layout": "layout (packing of the round)",
    "text": "the round's text from the lake",
    "batch": "the first batch's rows",
    "pending": "behind it: the log that is not planned yet",
    "reservoir": "behind it: the reservoir, from the lake",
}


def measure(quick: bool) -> list[Row]:
    """Time to the first batch at each size, and its parts."""
    sizes = (10_000, 30_000) if quick else (10_000, 100_000, 1_000_000)
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder, connect(ClusterConfig()):
        return grow_and_load(f"{folder}/lake", sizes, 3 if quick else 5)


def grow_and_load(store: str, sizes: tuple[int, ...], repeats: int) -> list[Row]:
    """Grow one lake through the sizes and load at each."""
    lake = Lake(Store.open(store))
    lake.create()
    growth = Growth(lake)
    rows, firsts = [], []
    for size in sizes:
        growth.to(size)
        found = load(store, growth.rounds - 1, repeats)
        first = [sum(parts) for parts in zip(*(found[k] for k in ("manifest", "layout", "text", "batch")), strict=True)]
        firsts.append(first)
        raw = {"windows": growth.window, "rounds": growth.rounds, "parts_s": found}
        rows.append(
            Row(
                f"resume at {size:,} documents: first batch",
                "ms",
                [1e3 * s for s in first],
                goal=Goal(10, at_least=False, of_ratio=False),
                why="Most of it is the text: " + say(found) + ".",
                note=f"{growth.window} windows, {growth.rounds} rounds; processes and weights are not counted.",
                raw=raw,
            )
        )
    rows += [Row(f"· {PARTS[part]}", "ms", [1e3 * s for s in seconds]) for part, seconds in found.items()]
    flat = [b / a for a, b in zip(firsts[0], firsts[-1], strict=True)]
    why = "Opening a table, reading replayed text from many windows and listing files all grow with the lake."
    name = f"at {sizes[0]:,} documents"
    what = f"resume at {sizes[-1]:,} documents: growth of the first batch's time"
    times = [[1e3 * s for s in firsts[-1]], [1e3 * s for s in firsts[0]]]
    rows.append(Row(what, "ms", times[0], name, times[1], flat, Goal(1.5, at_least=False), why))
    return rows


def say(found: dict[str, list[float]]) -> str:
    """The parts in a phrase."""
    return ", ".join(f"{part} {between([1e3 * s for s in seconds], 'ms')}" for part, seconds in found.items())


class Growth:
    """A lake that is filled as a run fills it, but with random ids and tokens."""

    def __init__(self, lake: Lake) -> None:
        self.lake, self.window, self.rounds = lake, 0, 0
        self.random = np.random.default_rng(0)
        self.ids = np.empty((0, 2), np.uint64)

    def to(self, size: int) -> None:
        """Append windows until there are `size` documents, and all whole rounds of them."""
        while len(self.ids) < size:
            self._append_window(min(WINDOW, size - len(self.ids)))
        while (self.rounds + 1) * FRESH <= len(self.ids):
            self._append_round()

    def _append_window(self, count: int) -> None:
        now = datetime.now(UTC)
        ids = self.random.integers(0, 2**64, (count, 2), dtype=np.uint64)
        values = pa.array(self.random.integers(0, 256, count * TOKENS).astype(np.int32))
        offsets = pa.array(np.arange(count + 1, dtype=np.int32) * TOKENS)
        times = pa.array(np.full(count, int(now.timestamp() * 1e6))).cast(TIME)
        numbers = pa.array(np.arange(count))
        columns = {
            "window": pa.array(np.full(count, self.window)),
            "position": numbers,
            "id": array_to_ids(ids),
            "source": pa.array(["made"] * count),
            "partition": pa.array(["made"] * count),
            "offset": pa.array(np.arange(count) + len(self.ids)),
            "event_time": times,
            "arrived": times,
            "weight": pa.array(np.ones(count)),
            "fate": pa.array(["kept"] * count),
            "num_bytes": pa.array(np.full(count, TOKENS)),
            "num_tokens": pa.array(np.full(count, TOKENS)),
            "tokens": pa.ListArray.from_arrays(offsets, values),
        }
        arrays = [columns.get(f.name, pa.nulls(count, f.type)) for f in DOCUMENT_SCHEMA]
        table = pa.Table.from_arrays(arrays, schema=DOCUMENT_SCHEMA)
        window = Window(self.window, {"made": []}, {"made": {}}, now, {"read": count, "kept": count}, 1.0)
        self.lake.plan_window(window)
        self.lake.commit_window(window, table)
        self.ids, self.window = np.concatenate([self.ids, ids]), self.window + 1

    def _append_round(self) -> None:
        begin = self.rounds * FRESH
        end = begin + FRESH
        before = np.arange(begin // WINDOW * WINDOW)
        replay = self.random.choice(before, min(REPLAY, len(before)), replace=False) if len(before) else before
        lengths = (FRESH + len(replay)) * (TOKENS + 1)
        manifest = Manifest(
            round=self.rounds,
            start=Place(begin // WINDOW, begin % WINDOW),
            end=Place((end - 1) // WINDOW, (end - 1) % WINDOW + 1),
            seed=SEED,
            steps=-(-lengths // (ROW_TOKENS * BATCH_ROWS)),
            batch_rows=BATCH_ROWS,
            row_tokens=ROW_TOKENS,
            closed="tokens",
            fresh=self._documents(np.arange(begin, end)),
            replay=self._documents(replay),
            shed=Documents.empty(),
        )
        self.lake.add_round(RUN, self.rounds, manifest.to_row())
        self.rounds += 1

    def _documents(self, which: np.ndarray) -> Documents:
        return Documents(self.ids[which], which // WINDOW, which % WINDOW, np.full(len(which), TOKENS))


def load(store: str, number: int, repeats: int) -> dict[str, list[float]]:
    """Seconds of each part, by a feed with its shard actor; the reservoir once a repeat, in this process."""
    settings = FeedSettings(
        store, RUN, ROUND, ReservoirConfig.model_validate({}), Shape(ROW_TOKENS, BATCH_ROWS), SEED, 256
    )
    warm = Feed(settings)
    nothing = np.empty((0, 2), np.uint64)
    ray.get([shard.tokens.remote(-1, nothing) for shard in warm.shards])  # its process has started
    times: dict[str, list[float]] = {part: [] for part in PARTS}
    pack(np.full(10, 10), ROW_TOKENS)  # compile
    for _ in range(repeats):
        lake = Lake(Store.open(store))
        clock = Clock(times)
        with_rounds = lake.num_rounds(RUN)
        assert with_rounds == number + 1, (with_rounds, number)
        manifest = Manifest.from_row(lake.rounds(RUN, number), 0)
        clock.lap("manifest")
        warm.lake, warm.prepared = lake, {}
        Layout(manifest)
        clock.lap("layout")
        ready = warm._materialise(manifest)
        clock.lap("text", less="layout")  # it lays out once more
        warm.prepared[number] = ready
        warm.batch(number, manifest.steps - 1, 0, 2)
        clock.lap("batch")
        PendingLog(lake).after(manifest.end, lake.last_window())
        clock.lap("pending")
    for _ in range(min(repeats, 3)):
        clock = Clock(times)
        Shard(Lake(Store.open(store)), settings.reservoir, SEED, 0).advance(manifest.end.window)
        clock.lap("reservoir")
    for shard in warm.shards:
        ray.kill(shard)
    return times


class Clock:
    """Notes seconds since the last lap."""

    def __init__(self, times: dict[str, list[float]]) -> None:
        self.times, self.last = times, time.perf_counter()

    def lap(self, part: str, less: str | None = None) -> None:
        """End a lap; `less` takes the last time of another part off."""
        now = time.perf_counter()
        taken = now - self.last - (self.times[less][-1] if less else 0.0)
        self.times[part].append(max(0.0, taken))
        self.last = now
