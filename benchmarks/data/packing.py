"""How many documents a second are packed, how much is padding and how much is cut, next to concatenate-and-cut?

2M documents of lognormal length (median 493 positions), in rows of 2,048 and 8,192.
Run: python -m benchmarks.data.packing [documents]
"""

import json
import statistics
import sys
import time

import numpy as np

from data_ops.rounds.packing import fill, pack

REPEATS = 5


def concatenate_and_cut(lengths, row_tokens):
    """The share of the documents that would fit a row and are cut when all text is one stream."""
    ends = np.cumsum(lengths)
    short = lengths <= row_tokens
    return float((((ends - lengths) // row_tokens != (ends - 1) // row_tokens) & short).sum() / short.sum())


def timed(work):
    """Seconds of each repeat."""
    seconds = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return seconds


def measure_rows(lengths, row_tokens):
    """Speed, padding and cuts at one row length."""
    pack(lengths[:1000], row_tokens)
    seconds = timed(lambda: pack(lengths, row_tokens))
    packing = pack(lengths, row_tokens)
    pieces = np.bincount(packing.document, minlength=len(lengths))
    few = lengths[:20_000]
    offsets = np.concatenate([[0], np.cumsum(few - 1)])
    tokens = np.arange(offsets[-1], dtype=np.int32)
    small = pack(few, row_tokens)
    fill_seconds = timed(lambda: fill(small, tokens, offsets, 0, row_tokens))
    rows = np.ones((3, small.num_rows, row_tokens), np.int32)
    copy_seconds = timed(rows.copy)
    return {
        "million_documents_per_s": {
            "median": round(len(lengths) / statistics.median(seconds) / 1e6, 2),
            "low": round(len(lengths) / max(seconds) / 1e6, 2),
            "high": round(len(lengths) / min(seconds) / 1e6, 2),
        },
        "padding_share": float(f"{1 - lengths.sum() / (packing.num_rows * row_tokens):.2e}"),
        "cut_share": float((pieces[lengths <= row_tokens] > 1).mean()),
        "cut_share_of_concatenate_and_cut": round(concatenate_and_cut(lengths, row_tokens), 3),
        "fill_million_tokens_per_s": round(len(tokens) / statistics.median(fill_seconds) / 1e6, 1),
        "fill_of_copying_the_rows": round(statistics.median(copy_seconds) / statistics.median(fill_seconds), 2),
    }


def measure(num_documents=2_000_000):
    """Both row lengths, from one run."""
    r = np.random.default_rng(0)
    lengths = np.clip(r.lognormal(6.2, 1.1, num_documents).astype(np.int64), 1, 10**6)
    return {"documents": num_documents, "rows": {str(n): measure_rows(lengths, n) for n in (2048, 8192)}}


if __name__ == "__main__":
    print(json.dumps(measure(*(int(float(a)) for a in sys.argv[1:2]))))
