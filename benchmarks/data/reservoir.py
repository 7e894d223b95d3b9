"""How many rows a second does one core add to a reservoir, next to the speed of memory and to plain numpy?

1e8 rows in blocks of 65,536, capacity 1e5, lognormal weights, a half-life of 1e7 rows. Blocks are made outside the
clock and visit the cache first, as they do after the stage that made them. `from_memory` adds 1M-row blocks instead.
Run: python -m benchmarks.data.reservoir [rows]
"""

import json
import statistics
import sys
import time

import numpy as np

from data_ops.kernels.hashing import key_of
from data_ops.sampling.reservoir import Reservoir

CAPACITY, HALF_LIFE_ROWS, REPEATS = 100_000, 1e7, 3


def blocks(num_rows, block_rows):
    """Yield (ids, times_s, weights); a row arrives every second."""
    r = np.random.default_rng(0)
    weights = r.lognormal(0, 1, block_rows)
    low = r.integers(0, 2**64, block_rows, dtype=np.uint64)
    for start in range(0, num_rows, block_rows):
        high = np.arange(start, start + block_rows, dtype=np.uint64)
        yield np.stack([high, low], 1), 1.7e9 + high.astype(np.float64), weights


def add_all(num_rows, block_rows, half_life_s):
    """Rows a second over a whole stream, the final sample included."""
    made, spent, count = Reservoir(CAPACITY, half_life_s, 1), 0.0, 0
    for block in blocks(num_rows, block_rows):
        start = time.process_time()
        made.add(*block)
        spent += time.process_time() - start
        count += block_rows
    start = time.process_time()
    made.sample(CAPACITY)
    return count / (spent + time.process_time() - start), made


def plain_numpy(num_rows, block_rows, half_life_s):
    """The same sample by computing every key with numpy and partitioning when 4 * capacity rows have gathered."""
    keys, ids, horizon, spent, count = [], [], np.inf, 0.0, 0
    for block in blocks(num_rows, block_rows):
        start = time.process_time()
        key = key_of(*block, half_life_s, 1)
        below = np.flatnonzero(key < horizon)
        keys.append(key[below])
        ids.append(block[0][below])
        if sum(map(len, keys)) > 4 * CAPACITY:
            key, kept = np.concatenate(keys), np.concatenate(ids)
            part = np.argpartition(key, CAPACITY)[: CAPACITY + 1]
            horizon, keys, ids = key[part[-1]], [key[part]], [kept[part]]
        spent += time.process_time() - start
        count += block_rows
    key, kept = np.concatenate(keys), np.concatenate(ids)
    return count / spent, kept[np.argsort(key)[:CAPACITY]]


def copy_rows(block_rows, repeats=40):
    """Rows a second of np.copyto over the same bytes (32 a row)."""
    source = [np.ones(2 * block_rows, np.uint64), np.ones(block_rows), np.ones(block_rows)]
    target = [np.empty_like(a) for a in source]
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        for a, b in zip(source, target, strict=True):
            np.copyto(b, a)
        best = min(best, time.perf_counter() - start)
    return block_rows / best


def spread(values):
    """Median and range, in millions."""
    return {
        "median": round(statistics.median(values) / 1e6, 1),
        "low": round(min(values) / 1e6, 1),
        "high": round(max(values) / 1e6, 1),
    }


def measure(num_rows=100_000_000):
    """Millions of rows a second and ratios, all from one run."""
    add_all(1_000_000, 65_536, HALF_LIFE_ROWS)  # compile
    cached = [add_all(num_rows, 65_536, HALF_LIFE_ROWS)[0] for _ in range(REPEATS)]
    memory = [add_all(num_rows, 1 << 20, HALF_LIFE_ROWS)[0] for _ in range(REPEATS)]
    undecayed = [add_all(num_rows, 65_536, None)[0] for _ in range(REPEATS)]
    few = max(1_000_000, num_rows // 10)
    numpy_speed, numpy_sample = plain_numpy(few, 65_536, HALF_LIFE_ROWS)
    same = np.array_equal(numpy_sample, add_all(few, 65_536, HALF_LIFE_ROWS)[1].sample(CAPACITY))
    copy = {"cached": copy_rows(65_536), "memory": copy_rows(1 << 20)}
    return {
        "rows": num_rows,
        "capacity": CAPACITY,
        "million_rows_per_s_per_core": {
            "decay_and_weights": spread(cached),
            "from_memory": spread(memory),
            "weights_only": spread(undecayed),
            "plain_numpy": round(numpy_speed / 1e6, 1),
            "copy_cached": round(copy["cached"] / 1e6, 1),
            "copy_from_memory": round(copy["memory"] / 1e6, 1),
        },
        "of_copy_from_memory": round(statistics.median(memory) / copy["memory"], 2),
        "times_plain_numpy": round(statistics.median(cached) / numpy_speed, 1),
        "same_sample_as_plain_numpy": bool(same),
    }


if __name__ == "__main__":
    print(json.dumps(measure(*(int(float(a)) for a in sys.argv[1:2]))))
