"""What do sketches for near duplicates cost, at 1e5 and 1e6 documents, in files of the store and in a process's memory?

Each size and side has a process of its own that does what ingest does with a window of 10,000 documents, of which one
in ten is a copy and one in ten shares a band with many others: it asks for all, adds the others, and keeps the window.
Both sides are asked the same and must answer the same. In files, the index is built by windows of 10,000, merges and
all; a start opens it and adds the sketches of the windows behind. The other side is the index in memory, to which every
start adds all sketches; here they come from an array on both sides, so neither reads or sketches a text
(`benchmarks/scale/starts.py` does). Times are processor time of the asking thread where nothing else is said; merges
have a thread of their own, and writing waits for the disk, so the clock is told too.
"""

import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from benchmarks.rows import Goal, Row, paired
from benchmarks.scale.ids import drop_caches, memory
from cluster.storage.store import Store
from data_ops.curation.history.near import NearDuplicates
from data_ops.documents.document import DOCUMENT_SCHEMA
from data_ops.index.folder import KNOWN_SKETCHES, IndexFolder
from data_ops.index.known_sketches import KnownSketches
from data_ops.kernels.arrays import Bytes, Words
from data_ops.kernels.mixing import mix64
from data_ops.kernels.near_index import NearIndex
from data_ops.kernels.texts.minhash import NUM_BANDS, NUM_HASHES

BATCH, COPIES, TEMPLATES = 10_000, 1_000, 1_000
WARM, TURNS = 4, 40
AGREEMENT = NearDuplicates().agreement
LOG = SimpleNamespace(mark=str, tombstones=lambda: DOCUMENT_SCHEMA.empty_table().select(["id"]))
Figures = dict[str, list[float]]
Arrays = tuple[Words, Bytes, Words]


def measure(quick: bool) -> list[Row]:
    """The lines of each size."""
    return [row for num in (10**5, *(() if quick else (10**6,))) for row in at_size(num)]


def at_size(num: int) -> list[Row]:
    """The lines of one size."""
    apart = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1)
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder, apart:
        built, ours, theirs = (apart.submit(side, folder, num).result() for side in (build, use_files, use_memory))
    if ours["answers"] != theirs["answers"]:
        raise ValueError(f"of {num} documents files and memory do not answer the same")
    size, rows = f"{num:,} sketches", list[Row]()
    for name, what in (("ask", "ask 10,000, cached"), ("add", "add 10,000 and keep, cached")):
        for share in (50, 95):
            bound = _at_most(130) if (name, share) == ("add", 95) else None
            parts = ([float(np.percentile(side[name], share))] for side in (ours, theirs))
            rows.append(_compared(f"{size}: {what}, p{share}", "ms CPU", *parts, bound))
        parts = ([float(np.percentile(side[f"{name} clock"], 95))] for side in (ours, theirs))
        rows.append(_compared(f"{size}: {what}, p95 by the clock", "ms", *parts))
    both = {name: (ours[name], theirs[name]) for name in ("start", "anonymous", "peak")}
    return [
        _compared(f"{size}: start from sketches", "ms CPU", *both["start"]),
        Row(f"· {size}: of that, files opened", "ms CPU", ours["open"], goal=_at_most(100)),
        Row(f"{size}: first 10,000 asked, nothing cached", "ms", ours["first"]),
        *rows,
        _compared(f"{size}: memory of its own, above what it began with", "MB", *both["anonymous"]),
        _compared(f"{size}: most memory of the process, mapped files too", "MB", *both["peak"]),
        Row(f"· {size}: on disk, a band key", "B", built["bands"], goal=_at_most(20)),
        Row(f"· {size}: on disk, the sketch of a document", "B", built["sketches"]),
        Row(f"· {size}: mapped lines, a document", "B", built["lines"]),
        Row(f"· {size}: files", "", built["files"]),
        Row(f"· {size}: added when it was built, merges and all", "documents/s", built["rate"]),
    ]


def _at_most(bound: float) -> Goal:
    return Goal(bound, at_least=False, of_ratio=False)


def _compared(what: str, unit: str, ours: list[float], theirs: list[float], goal: Goal | None = None) -> Row:
    return Row(what, unit, ours, "in memory", theirs, paired(ours, theirs), goal)


def build(folder: str, num: int) -> Figures:
    """Fill an index by windows."""
    _warm_up()
    began, known = time.perf_counter(), _index(folder)
    for window in range(num // BATCH):
        known.add(*sketches_at(np.arange(window * BATCH, (window + 1) * BATCH)))
        known.keep(window)
    known.settle()
    seconds, held = time.perf_counter() - began, len(known) - len(known.recent)

    def on_disk(kind: str) -> int:
        return sum(path.stat().st_size for path in Path(folder).rglob(f"*.{kind}"))

    return {
        "rate": [num / seconds],
        "bands": [on_disk("bands") / NUM_BANDS / held],
        "sketches": [on_disk("sketches") / held],
        "lines": [sum(file.line_bytes for file in known.files) / held],
        "files": [float(len(known.files))],
    }


def use_files(folder: str, num: int) -> Figures:
    """Start with nothing cached, ask the first window, then more."""
    _warm_up()
    empty = memory("RssAnon")
    drop_caches(Path(folder))
    began = time.thread_time()
    known = _index(folder)
    opened = time.thread_time() - began
    for window in range(known.window + 1, num // BATCH):
        known.add(*sketches_at(np.arange(window * BATCH, (window + 1) * BATCH)))
        known.keep(window)
    started = time.thread_time() - began
    _, signatures, bands = batch(num, 0)
    clock = time.perf_counter()
    known.look(signatures, bands)
    first = time.perf_counter() - clock
    figures = turns(known, num)
    known.settle()
    return figures | {
        "open": [1e3 * opened],
        "start": [1e3 * started],
        "first": [1e3 * first],
        "anonymous": [memory("RssAnon") - empty],
        "peak": [memory("VmHWM")],
    }


def use_memory(folder: str, num: int) -> Figures:
    """The same with the index in memory: nothing of the folder is used."""
    _warm_up()
    empty, known = memory("RssAnon"), NearIndex(NUM_HASHES, NUM_BANDS, AGREEMENT)
    began = time.thread_time()
    for window in range(num // BATCH):
        known.add(*sketches_at(np.arange(window * BATCH, (window + 1) * BATCH)))
    started = time.thread_time() - began
    figures = turns(known, num)
    return figures | {
        "start": [1e3 * started],
        "anonymous": [memory("RssAnon") - empty],
        "peak": [memory("VmHWM")],
    }


def turns(known: KnownSketches | NearIndex, num: int) -> Figures:
    """Times of windows that are asked and added, and the sum of what was answered."""
    figures: Figures = {"ask": [], "ask clock": [], "add": [], "add clock": [], "answers": [0.0]}
    for turn in range(WARM + TURNS):
        ids, signatures, bands = batch(num, turn)
        times = [(time.thread_time(), time.perf_counter())]
        found = known.look(signatures, bands)
        times.append((time.thread_time(), time.perf_counter()))
        known.add(ids[~found], signatures[~found], bands[~found])
        if isinstance(known, KnownSketches):
            known.keep(num // BATCH + turn)
        times.append((time.thread_time(), time.perf_counter()))
        figures["answers"][0] += float(np.flatnonzero(found).sum())
        if not COPIES * 0.99 < found.sum() < COPIES * 1.2:
            raise ValueError(f"{found.sum()} of {COPIES} copies were found")
        if turn >= WARM:
            for name, before, after in zip(("ask", "add"), times[:-1], times[1:], strict=True):
                figures[name].append(1e3 * (after[0] - before[0]))
                figures[f"{name} clock"].append(1e3 * (after[1] - before[1]))
    return figures


def batch(num: int, turn: int) -> Arrays:
    """A window of which one document in ten is a copy of an earlier one."""
    rng, first = np.random.default_rng(turn), num + BATCH * turn
    _, signatures, bands = sketches_at(np.arange(first, first + BATCH))
    copies = rng.choice(BATCH, COPIES, replace=False)
    _, signatures[copies], bands[copies] = sketches_at(rng.integers(0, num, COPIES))
    return mix64(np.arange(first, first + BATCH).astype(np.uint64)), signatures, bands


def sketches_at(places: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> Arrays:
    """Sketches that stand at places of the log; one in ten has its first band from a template."""
    numbers = places.astype(np.uint64)
    words = np.stack([mix64(numbers * np.uint64(NUM_BANDS) + np.uint64(k)) for k in range(NUM_BANDS)], axis=1)
    bands = mix64(words)
    shares = numbers % np.uint64(10) == 0
    bands[shares, 0] = mix64(mix64(numbers[shares]) % np.uint64(TEMPLATES))
    return mix64(numbers), words.view(np.uint8), bands


def _warm_up() -> None:
    """Load the compiled loops."""
    with tempfile.TemporaryDirectory() as folder:
        known, memory_only = _index(folder, 100), NearIndex(NUM_HASHES, NUM_BANDS, AGREEMENT)
        for window in range(8):
            sketches = sketches_at(np.arange(200 * window, 200 * window + 200))
            known.add(*sketches)
            known.keep(window)
            known.settle()
            memory_only.add(*sketches)
        known.look(*sketches[1:])


def _index(folder: str, *at_once: int) -> KnownSketches:
    return KnownSketches(IndexFolder(Store.open(folder), KNOWN_SKETCHES), LOG, AGREEMENT, *at_once)
