"""How many bad inputs do the parsers survive? `python -m tests.fuzz --turns N --seed S [--seconds T]`

Inputs go to the parsers in turn. An exception that is not a parser's own answer, more than a second or 500 MB more are
failures: each is told with its seed and kept in a file, and the exit code is 1.
"""

import argparse
import random
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.fuzz.parsers import PARSERS

MOST_SECONDS, MOST_MB = 1.0, 500.0


def fuzz(turns: int, seed: int, seconds: float = 1e9, keep: Path | None = None) -> dict[str, Counter[str]]:
    """Feed the parsers so often, or until the time is over; counts by parser: inputs, exceptions, slow, large.

    A slow input is fed once more: only what is slow twice is, because a machine may be busy and kernels compile.
    """
    counts = {name: Counter[str]() for name in PARSERS}
    ends = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="headrace-fuzz-") as folder:
        for parser in PARSERS.values():
            parser.feed(parser.seeds[0], Path(folder))  # compiles what it needs
        for number in range(turns):
            name = list(PARSERS)[number % len(PARSERS)]
            generator = random.Random(f"{seed}:{number}")
            data = PARSERS[name].change(generator)
            for kind, text in outcome(name, data, Path(folder)):
                counts[name][kind] += 1
                sys.stderr.write(f"{name}, seed {seed}, input {number}: {text}\n")
                if keep:
                    (keep / f"{seed}-{number}-{kind}").write_bytes(data)
            counts[name]["inputs"] += PARSERS[name].at_once
            if time.monotonic() > ends:
                break
    return counts


def outcome(name: str, data: bytes, folder: Path) -> list[tuple[str, str]]:
    """Feed one input; return what it did that it must not: (exceptions | slow | large, sentence)."""
    found = []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        took = _seconds(name, data, folder)
        if took > MOST_SECONDS and (took := min(took, _seconds(name, data, folder))) > MOST_SECONDS:
            found.append(("slow", f"takes {took:.1f} s of the processor"))
    except Exception:
        found.append(("exceptions", traceback.format_exc(limit=-4)))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return [*found, ("large", f"takes {grown:.0f} MB")] if grown > MOST_MB else found


def _seconds(name: str, data: bytes, folder: Path) -> float:
    began = time.process_time()
    PARSERS[name].feed(data, folder)
    return time.process_time() - began


def table(counts: dict[str, Counter[str]]) -> str:
    """Write the counts as a table for a page."""
    rows = ["| parser | inputs | unintended exceptions | > 1 s | > 500 MB more |", "|---|---|---|---|---|"]
    for name, count in [*counts.items(), ("**sum**", sum(counts.values(), Counter[str]()))]:
        figures = " | ".join(f"{count[kind]:,}" for kind in ("inputs", "exceptions", "slow", "large"))
        rows.append(f"| {name} | {figures} |")
    return "\n".join(rows)


def main() -> int:
    """Fuzz as the command line says, and print the table."""
    options = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").splitlines()[0])
    options.add_argument("--turns", type=int, default=10_000, help="files fed; some hold 300 inputs")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--seconds", type=float, default=1e9, help="stop after so long")
    options.add_argument("--keep", type=Path, help="a folder for the inputs that failed")
    given = options.parse_args()
    if given.keep:
        given.keep.mkdir(parents=True, exist_ok=True)
    counts = fuzz(given.turns, given.seed, given.seconds, given.keep)
    sys.stdout.write(table(counts) + "\n")
    return int(any(count.total() > count["inputs"] for count in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
