"""How long does the data side of a resume take, and does it grow with the position?

A lake is grown to 1e4, 1e5 and 1e6 documents of 63 tokens, in windows of 10,000 and rounds of the default size with a
quarter replay, every window and round appended on its own as a run does. At each size feed actors that know nothing,
each in a new process, are asked for the last round and the rows of its middle step by two ranks, over Ray. The parts
are timed beside it in one warm process, and so is what a feed does behind the first batches: bring up the log that is
not planned yet and the reservoir, which is rebuilt from the lake, and plan the next round. Disk caches are warm.
"""

import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from benchmarks.rows import Goal, Row, between
from cluster.runtime.config import ClusterConfig
from cluster.runtime.session import connect
from cluster.storage.store import Store
from data_ops.documents.document import DOCUMENT_SCHEMA, TIME
from data_ops.documents.frontier import Frontier
from data_ops.documents.place import Documents, Place
from data_ops.kernels.arrays import array_to_ids
from data_ops.lake.lake import Lake
from data_ops.lake.log import PendingLog, text_of
from data_ops.lake.window import Window
from data_ops.rounds.config import RoundConfig
from data_ops.rounds.layout import Layout
from data_ops.rounds.manifest import Manifest, Planning, Shape
from data_ops.rounds.masking import RowObjective
from data_ops.rounds.packing import pack
from data_ops.rounds.plan import PlanInput, plan_round
from data_ops.rounds.round_file import round_file
from data_ops.sampling.reservoir import ReservoirConfig
from data_ops.sampling.shard import Shard, merge_shards
from ray_jobs.driver.run import PRELOAD
from ray_jobs.training.actors.feed import Feed, FeedSettings

RUN, WINDOW, TOKENS, ROW_TOKENS, BATCH_ROWS, SEED = "bench", 10_000, 63, 256, 64, 7
ROUND = RoundConfig()
FRESH = ROUND.fresh_tokens // (TOKENS + 1)
REPLAY = ROUND.tokens // (TOKENS + 1) - FRESH
RANKS = 2
WARM_UP_S = 1.0  # a new process compiles in a thread, while workers would be loading weights
PARTS = {
    "file": "the round's file: read, checked, arrays",
    "layout": "layout (packing of the round)",
    "batch": "the step's rows of both ranks",
    "lake": "instead of the file, where there is none: manifest and text from the lake",
    "pending": "behind it: the log that is not planned yet",
    "reservoir": "behind it: the reservoir, from the lake",
    "plan": "behind it: sample merged, next round planned",
}


def measure(quick: bool) -> list[Row]:
    """Time to the first rows at each size, and its parts."""
    sizes = (10_000, 30_000) if quick else (10_000, 100_000, 1_000_000)
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder, connect(ClusterConfig(), preload=PRELOAD):
        return grow_and_load(f"{folder}/lake", sizes, 2 if quick else 7)


def grow_and_load(store: str, sizes: tuple[int, ...], repeats: int) -> list[Row]:
    """Grow one lake through the sizes and load at each."""
    lake = Lake(Store.open(store))
    lake.create()
    growth = Growth(lake)
    rows, loadeds = [], []
    for size in sizes:
        growth.to(size)
        found = parts(store, growth.rounds - 1, repeats)
        loaded = [1e3 * s for s in loads(store, growth.rounds - 1, repeats)]
        loadeds.append(loaded)
        first = [1e3 * s for s in starts(store, growth.rounds - 1, repeats)]
        raw = {"windows": growth.window, "rounds": growth.rounds, "parts_s": found}
        rows.append(
            Row(
                f"resume at {size:,} documents: data state loaded, in a new feed process",
                "ms",
                loaded,
                goal=Goal(10, at_least=False, of_ratio=False),
                why="The parts in a warm process: " + say(found) + ".",
                note="from the round's file to the rows of both ranks in the middle of the round; no calls in it.",
            )
        )
        rows.append(
            Row(
                f"resume at {size:,} documents: first rows on {RANKS} ranks, new feed process",
                "ms",
                first,
                goal=Goal(10, at_least=False, of_ratio=False),
                why="Beside loading: three calls over Ray, 200 kB of rows, code that runs for the first time.",
                note=f"{growth.window} windows, {growth.rounds} rounds; {say(found)}. "
                "The start of processes and the weights are not counted.",
                raw=raw,
            )
        )
    rows += [Row(f"· {PARTS[part]}", "ms", [1e3 * s for s in seconds]) for part, seconds in found.items()]
    flat = [b / a for a, b in zip(sorted(loadeds[0]), sorted(loadeds[-1]), strict=True)]
    name = f"at {sizes[0]:,} documents"
    what = f"resume at {sizes[-1]:,} documents: growth of the time to load the data state"
    rows.append(Row(what, "ms", loadeds[-1], name, loadeds[0], flat, Goal(1.5, at_least=False)))
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


def settings_for(store: str) -> FeedSettings:
    """The run of the benchmark."""
    shape = Shape(ROW_TOKENS, BATCH_ROWS)
    return FeedSettings(store, RUN, Planning(ROUND, ReservoirConfig.model_validate({}), shape, SEED), RowObjective(256))


class TimedFeed(Feed):
    """A feed that says how long it takes to load what a resume needs."""

    def loaded(self, number: int, step_share: float) -> float:
        """Seconds from nothing to the rows of both ranks: read and check the round's file, lay out, cut."""
        began = time.perf_counter()
        manifest, text = self.files.read(number) or (None, None)
        assert manifest is not None and text is not None
        layout, step = Layout(manifest, text.blank), int(manifest.steps * step_share)
        for rank in range(RANKS):
            rows = layout.rows_of(step, rank * BATCH_ROWS // RANKS, BATCH_ROWS // RANKS)
            layout.fill(rows, BATCH_ROWS // RANKS, text.tokens, text.offsets, 256)
        return time.perf_counter() - began


def loads(store: str, number: int, repeats: int) -> list[float]:
    """Seconds in which feeds that know nothing load the data state, without calls."""
    return [ray.get(feed.loaded.remote(number, 0.5)) for feed in new_feeds(store, repeats)]


def new_feeds(store: str, count: int) -> Iterator[Any]:
    """Yield feeds that know nothing, each in a new process that has warmed up; each ends before the next."""
    for _ in range(count):
        feed = ray.remote(TimedFeed).options(num_cpus=0, max_concurrency=16).remote(settings_for(store))
        ray.get(feed.__ray_ready__.remote())
        time.sleep(WARM_UP_S)
        yield feed
        ray.kill(feed)


def starts(store: str, number: int, repeats: int) -> list[float]:
    """Seconds from the question for the round to the rows in hand, of feeds that know nothing; with its file."""
    times = []
    for feed in new_feeds(store, repeats):
        began = time.perf_counter()
        step = ray.get(feed.round.remote(number)).steps // 2
        batches = ray.get([feed.batch.remote(number, step, rank, RANKS) for rank in range(RANKS)])
        times.append(time.perf_counter() - began)
        assert {batch.rows.inputs.shape for batch in batches} == {(BATCH_ROWS // RANKS, ROW_TOKENS)}
    return times


def parts(store: str, number: int, repeats: int) -> dict[str, list[float]]:
    """Seconds of each part in this process, which is warm; leaves the round's file behind."""
    settings = settings_for(store)
    times: dict[str, list[float]] = {part: [] for part in PARTS}
    pack(np.full(10, 10), ROW_TOKENS)  # compile
    for _ in range(min(repeats, 3)):
        lake = Lake(Store.open(store))
        clock = Clock(times)
        recorded = Manifest.from_row(lake.rounds(RUN, number), 0)
        text = text_of(lake, recorded.fresh, recorded.replay, [])
        clock.lap("lake")
        pending = PendingLog(lake).after(recorded.ends, lake.last_window())
        clock.lap("pending")
        state = Shard(lake, settings.plan.reservoir, SEED, 0).state(Frontier.through(recorded.end.window))
        clock.lap("reservoir")
        sample = merge_shards(settings.plan.reservoir, SEED, [state])
        documents, name = sample.documents, sample.fingerprint
        place, shape = recorded.end, settings.plan.shape
        plan_round(PlanInput(ROUND, shape, SEED, documents, name), number + 1, place, pending, "drained")
        clock.lap("plan")
    file = round_file(lake.store, RUN, number)
    file.write(recorded, text)
    for _ in range(4 * repeats):
        clock = Clock(times)
        found = file.read()
        clock.lap("file")
        assert found is not None
        manifest, text = found
        layout = Layout(manifest)
        clock.lap("layout")
        for rank in range(RANKS):
            rows = layout.rows_of(manifest.steps // 2, rank * BATCH_ROWS // RANKS, BATCH_ROWS // RANKS)
            layout.fill(rows, BATCH_ROWS // RANKS, text.tokens, text.offsets, 256)
        clock.lap("batch")
    return times


class Clock:
    """Notes seconds since the last lap."""

    def __init__(self, times: dict[str, list[float]]) -> None:
        self.times, self.last = times, time.perf_counter()

    def lap(self, part: str) -> None:
        """End a lap."""
        now = time.perf_counter()
        self.times[part].append(now - self.last)
        self.last = now
