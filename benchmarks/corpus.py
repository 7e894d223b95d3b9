"""What are the records that the benchmarks read, and what must become of each?

Dated JSON lines made from a seed: plain English-like texts, some of them repeats of an earlier one, and broken lines of
eight kinds at known places. `expected` is known when a line is made, so a lake can be compared with it row by row.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np

WORDS = [
    "river",
    "water",
    "wheel",
    "mill",
    "stone",
    "grain",
    "flour",
    "bread",
    "oven",
    "fire",
    "wood",
    "axe",
    "tree",
    "leaf",
    "wind",
    "rain",
    "cloud",
    "field",
    "plough",
    "seed",
    "harvest",
    "barn",
    "cart",
    "horse",
    "road",
    "bridge",
    "market",
    "coin",
    "scale",
    "baker",
    "miller",
    "farmer",
    "winter",
    "summer",
    "morning",
    "evening",
]
NUM_SENTENCES = 4096
LIMIT_BYTES = 8192  # of a record; the oversized ones are longer
BROKEN_SHARE, REPEATED_SHARE = 0.01, 0.02
BROKEN = {
    "bad_json": lambda n: b'{"text": "cut off in the middle of line %d' % n,
    "not_an_object": lambda n: b'["text", "a list, number %d"]' % n,
    "bad_utf8": lambda n: b'{"text": "line %d is \xff\xfe no UTF-8"}' % n,
    "missing_text": lambda n: b'{"title": "line %d has a title only"}' % n,
    "wrong_type": lambda n: b'{"text": {"line": %d}}' % n,
    "oversized": lambda n: b'{"text": "line %d %s"}' % (n, b"is long " * (LIMIT_BYTES // 8)),
    "nul_bytes": lambda n: b'{"text": "line %d' % n + b"\0" * 40,
    "too_deep": lambda n: b'{"line": %d, "text": ' % n + b"[" * 2000 + b"]" * 2000 + b"}",
}


class Line(NamedTuple):
    """A line and what must become of it: fate and, of those not alive, its reason; alive is kept or held out."""

    raw: bytes
    fate: str  # alive | dropped | quarantined
    reason: str | None
    text: str | None


def lines(num_records: int, sentences: int, seed: int = 0, *, clean: bool = False) -> Iterator[Line]:
    """Make `num_records` lines of about 60 bytes times `sentences`; clean: without broken and repeated ones."""
    r = np.random.default_rng(seed)
    pool = [" ".join(r.choice(WORDS, r.integers(6, 15))).capitalize() + "." for _ in range(NUM_SENTENCES)]
    picks = r.integers(0, NUM_SENTENCES, (num_records, sentences)).tolist()
    draws = r.random(num_records).tolist()
    earlier = r.random(num_records).tolist()
    kinds, alive = list(BROKEN), []
    start, broken = datetime(2026, 1, 1, tzinfo=UTC), 0
    for n in range(num_records):
        if not clean and draws[n] < BROKEN_SHARE:
            kind = kinds[broken % len(kinds)]
            broken += 1
            yield Line(BROKEN[kind](n), "quarantined", kind, None)
            continue
        is_repeat = not clean and draws[n] < BROKEN_SHARE + REPEATED_SHARE and alive
        text = alive[int(earlier[n] * len(alive))] if is_repeat else ""
        if not is_repeat:
            text = f"Entry {n} of {seed}. " + " ".join([pool[i] for i in picks[n]])
            alive.append(text)
        raw = json.dumps({"text": text, "at": (start + timedelta(minutes=n)).isoformat()}).encode()
        yield Line(raw, *(("dropped", "duplicate", None) if is_repeat else ("alive", None, text)))


def write(folder: Path, made: list[Line], num_files: int = 1) -> list[tuple[str, int]]:
    """Write lines into files of equal length, in order; (path, ordinal in it) of each line."""
    folder.mkdir(parents=True, exist_ok=True)
    each = -(-len(made) // num_files)
    places = []
    for number in range(num_files):
        part, path = made[number * each : (number + 1) * each], folder / f"{number:03d}.jsonl"
        path.write_bytes(b"".join(line.raw + b"\n" for line in part))
        places += [(str(path), ordinal) for ordinal in range(len(part))]
    return places
