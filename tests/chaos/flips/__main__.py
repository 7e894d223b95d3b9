"""`python -m tests.chaos.flips --flips 1000 --seed 1`: flip single bits in every kind of file of a small store."""

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from random import Random

import msgspec

from tests.chaos.flips.readings import read_all
from tests.chaos.flips.trial import Trial, bound, try_flip
from tests.support.small_store import make_store

OUTCOMES = ("noticed", "found", "harmless", "derived", "nameless", "crash", "silent")


def kind_of(path: str) -> str:
    """What a file of a store is, by its path: the table and what of it, or its name without numbers."""
    parts = path.split("/")
    if "_delta_log" in parts:
        last = parts[-1]
        return f"{parts[0]} log" + (" checkpoint" if "checkpoint" in last else "")
    if parts[0] == "index":
        return f"index {path.rpartition('.')[2]}"
    if parts[0] == "runs" and len(parts) > 3:
        return f"{parts[2]} {parts[-1].rpartition('.')[2]}"
    return parts[0] if len(parts) == 2 and path.endswith(".parquet") else parts[1] if len(parts) > 2 else path


def choose(lake: Path, flips: int, seed: int) -> list[Trial]:
    """Bits to flip: every kind of file as often as every other; within a kind every byte alike."""
    random, files = Random(seed), dict[str, list[tuple[str, int]]]()
    for place in sorted(path for path in lake.rglob("*") if path.is_file() and path.stat().st_size):
        path = place.relative_to(lake).as_posix()
        kind = "run's own " + place.name if path.startswith("runs/") and path.count("/") == 2 else kind_of(path)
        files.setdefault(kind, []).append((path, place.stat().st_size))
    trials, kinds = [], sorted(files)
    for number in range(flips):
        kind = kinds[number % len(kinds)]
        path, size = random.choices(files[kind], weights=[size for _, size in files[kind]])[0]
        trials.append(Trial(kind, path, random.randrange(size), random.randrange(8)))
    return trials


def run(flips: int, seed: int, folder: Path) -> list[Trial]:
    """Make a store and try every flip, in a process of its own, as damaged bytes may end it."""
    make_store(folder)
    before = read_all(folder)
    broken = [f"{name}: {reading.error}" for name, reading in before.items() if reading.error]
    if broken:
        raise SystemExit(f"the store cannot be read before anything is flipped: {broken}")
    done, pool = [], None
    for trial in choose(folder / "lake", flips, seed):
        place = folder / "lake" / trial.path
        data = place.read_bytes()
        pool = pool or ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), bound)
        try:
            done.append(pool.submit(try_flip, folder, trial, before).result())
        except BrokenProcessPool:
            pool = None
            place.write_bytes(data)
            done.append(trial)
        if len(done) % 100 == 0:
            sys.stderr.write(f"{len(done)} of {flips}\n")
    if pool is not None:
        pool.shutdown()
    return done


def table(trials: list[Trial]) -> str:
    """Outcomes by kind of file, as a Markdown table."""
    counts = {kind: Counter(t.outcome for t in trials if t.kind == kind) for kind in sorted({t.kind for t in trials})}
    counts["all"] = Counter(trial.outcome for trial in trials)
    lines = [f"| kind of file | flips | {' | '.join(OUTCOMES)} |", "|---" * (2 + len(OUTCOMES)) + "|"]
    for kind, each in counts.items():
        lines.append(f"| {kind} | {each.total()} | {' | '.join(str(each[outcome]) for outcome in OUTCOMES)} |")
    return "\n".join(lines)


def main() -> None:
    """Run the trials and write them down; ends with 1 if one was silent, without a name, or ended the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where to write every trial")
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="headrace-flips-") as folder:
        trials = run(given.flips, given.seed, Path(folder))
    seconds = time.monotonic() - began
    if given.json:
        given.json.write_bytes(msgspec.json.encode({"seed": given.seed, "seconds": round(seconds), "trials": trials}))
    wrong = [trial for trial in trials if trial.outcome in ("silent", "nameless", "crash")]
    sys.stdout.write(f"{table(trials)}\n\n{len(trials)} flips, seed {given.seed}, {seconds:.0f} s\n")
    for trial in wrong:
        sys.stdout.write(f"{trial.outcome}: bit {trial.bit} of byte {trial.byte} of {trial.path}: {trial.changed}\n")
    raise SystemExit(int(bool(wrong)))


if __name__ == "__main__":
    main()
