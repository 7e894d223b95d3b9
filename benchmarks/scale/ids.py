"""What do known ids cost, from 1e5 to 1e7, in files of the store and in the memory of a process?

Each size and side has a process of its own that does what ingest does with a window of 10,000 documents, of which one
in ten is known: it asks for all, then adds the new ones. In files, the index is built by windows of 10,000 (100,000
from 1e7 on), merges and all; a start opens it and adds the windows behind what is written. The other side is the set in
memory that is filled from an array at each start, without the time of reading the lake for it. Times are processor time
of the asking thread, as other work on the machine counts less then; merges have a thread of their own, and what is not
cached is waited for, so these two are told by the clock.
"""

import multiprocessing
import os
import re
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.rows import Goal, Row, paired
from cluster.storage.store import Store
from data_ops.index.folder import IndexFolder
from data_ops.index.known_ids import KnownIds
from data_ops.kernels.arrays import Ids
from data_ops.kernels.mixing import mix64
from data_ops.kernels.seen_ids import SeenIds

BATCH, KNOWN = 10_000, 1_000
REPEATS = 11
Figures = dict[str, list[float]]


def measure(quick: bool) -> list[Row]:
    """The lines of each size."""
    return [row for num in (10**5, 10**6, *(() if quick else (10**7,))) for row in at_size(num)]


def at_size(num: int) -> list[Row]:
    """The lines of one size."""
    apart = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1)
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder, apart:
        sides = (build, use_files, use_memory)
        built, ours, theirs = (apart.submit(side, folder, num).result() for side in sides)
    size = f"{num:,} ids"
    rows = [
        _compared(f"{size}: start, until the first question", "ms CPU", ours, theirs, "start"),
        Row(f"· {size}: of that, files opened", "ms CPU", ours["open"], goal=_at_most(100)),
        Row(f"{size}: first 10,000, nothing cached", "ms", ours["first"]),
        _compared(f"{size}: ask and add 10,000, cached", "ms CPU", ours, theirs, "cached", _at_most(10)),
        _compared(f"{size}: memory of its own, above what it began with", "MB", ours, theirs, "anonymous"),
        _compared(f"{size}: most memory of the process, mapped files too", "MB", ours, theirs, "peak"),
        Row(f"· {size}: mapped lines, an id in files", "B", ours["lines"], goal=_at_most(2)),
        Row(f"· {size}: on disk, an id in files", "B", built["disk"], goal=_at_most(26)),
        Row(f"· {size}: files", "", built["files"]),
        Row(f"· {size}: added when it was built, merges and all", "ids/s", built["rate"]),
        Row(f"· {size}: written, an id", "B", built["written"]),
    ]
    return [row for row in rows if len(row.ours)]


def _at_most(bound: float) -> Goal:
    return Goal(bound, at_least=False, of_ratio=False)


def _compared(what: str, unit: str, ours: Figures, theirs: Figures, name: str, goal: Goal | None = None) -> Row:
    ratios = paired(ours[name], theirs[name]) if min(theirs[name]) > 0 else []
    return Row(what, unit, ours[name], "in memory", theirs[name], ratios, goal)


def build(folder: str, num: int) -> Figures:
    """Fill an index; the last 20 windows of 10,000 come alone, as they do in a store."""
    _warm_up()
    written, began = _written(), time.perf_counter()
    known = KnownIds(_index(folder), str)
    for window, ids in enumerate(windows(num)):
        known.add_new(ids)
        known.keep(window)
    known.settle()
    seconds = time.perf_counter() - began
    there = [path.stat().st_size for path in Path(folder).rglob("*.ids")]
    in_files = sum(file.facts.num_rows for file in known.files)
    return {
        "rate": [num / seconds],
        "disk": [sum(there) / in_files] if in_files else [],
        "files": [float(len(there))],
        "written": [(_written() - written) / num],
    }


def use_files(folder: str, num: int) -> Figures:
    """Start with nothing cached, ask the first window, then more."""
    _warm_up()
    empty = memory("RssAnon")
    drop_caches(Path(folder))
    began = time.thread_time()
    known = KnownIds(_index(folder), str)
    opened = time.thread_time() - began
    for window, ids in enumerate(windows(num)):
        if window > known.window:
            known.add_new(ids)
            known.keep(window)
    started = time.thread_time() - began
    clock = time.perf_counter()
    ask_and_add(known, num, 0)
    first = time.perf_counter() - clock
    cached = [ask_and_add(known, num, 1 + i) for i in range(3 * REPEATS)][-REPEATS:]
    in_files = sum(file.facts.num_rows for file in known.files)
    return {
        "open": [1e3 * opened],
        "start": [1e3 * started],
        "first": [1e3 * first],
        "cached": [1e3 * each for each in cached],
        "anonymous": [memory("RssAnon") - empty],
        "peak": [memory("VmHWM")],
        "lines": [sum(file.line_bytes for file in known.files) / in_files] if in_files else [],
    }


def use_memory(folder: str, num: int) -> Figures:
    """The same with the set in memory: nothing of the folder is used."""
    _warm_up()
    empty, known = memory("RssAnon"), SeenIds()
    began = time.thread_time()
    for ids in windows(num):
        known.add_new(ids)
    started = time.thread_time() - began
    cached = [ask_and_add(known, num, i) for i in range(3 * REPEATS)][-REPEATS:]
    return {
        "start": [1e3 * started],
        "cached": [1e3 * each for each in cached],
        "anonymous": [memory("RssAnon") - empty],
        "peak": [memory("VmHWM")],
    }


def ask_and_add(known: KnownIds | SeenIds, num: int, turn: int) -> float:
    """Processor seconds of a window of which one document in ten is known."""
    rng = np.random.default_rng(turn)
    places = np.concatenate([rng.integers(0, num, KNOWN), num + BATCH * turn + np.arange(BATCH - KNOWN)])
    ids = ids_at(rng.permutation(places))
    began = time.thread_time()
    found = known.contains(ids)
    known.add_new(ids[~found])
    seconds = time.thread_time() - began
    if int(found.sum()) != len(np.unique(places[:KNOWN])) and int(found.sum()) != KNOWN:
        raise ValueError(f"{found.sum()} of {KNOWN} known ids were found")
    return seconds


def windows(num: int) -> Iterator[Ids]:
    """The ids of a store."""
    at_once, at = (BATCH if num < 10**7 else 10 * BATCH), 0
    while at < num:
        size = at_once if num - at > 20 * BATCH + at_once else BATCH
        yield ids_at(np.arange(at, min(num, at + size)))
        at += size


def ids_at(places: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> Ids:
    """The ids that stand at places of the log: hashes, as in a store."""
    numbers = places.astype(np.uint64)
    return np.stack([mix64(2 * numbers + 1), mix64(2 * numbers + 2)], axis=1)


def _warm_up() -> None:
    """Load the compiled loops."""
    with tempfile.TemporaryDirectory() as folder:
        known = KnownIds(_index(folder), str, 100)
        for window in range(8):
            known.add_new(ids_at(np.arange(200 * window, 200 * window + 200)))
            known.keep(window)
            known.settle()


def _index(folder: str) -> IndexFolder:
    return IndexFolder(Store.open(folder))


def memory(kind: str) -> float:
    """Megabytes of this process: RssAnon, which are no file's, or VmHWM, the most that it ever had, all together."""
    return int(re.findall(rf"{kind}:\s+(\d+)", Path("/proc/self/status").read_text())[0]) / 1e3


def _written() -> int:
    """Bytes that this process had written to disks."""
    return int(re.findall(r"\nwrite_bytes: (\d+)", Path("/proc/self/io").read_text())[0])


def drop_caches(folder: Path) -> None:
    """Let nothing of the files of an index be in memory."""
    for path in folder.rglob("index/*/[0-9]*"):
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)
