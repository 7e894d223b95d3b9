"""How do the loaders go through the same chains?

Each runs in an environment of its own with pinned versions, one process a rank (`benchmarks.matrix.grain`, `.mosaic`).
A rank writes down every batch, saves the loader's state as its documentation says at a given step, goes on to the end
of the epoch and waits there for its SIGKILL: what it did behind the save is the resume that is compared, and is
discarded for the attempt that follows.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.matrix.protocol import BATCH_DOCUMENTS, RESUMES, WORLDS, Attempt, Batch, Corpus, compare, consumed
from benchmarks.root import ROOT

HERE = Path(__file__).parent
SAVES = (5, 11, 17)  # global steps at which the state is saved, of 24 to 33
SECONDS = 120.0
NOTES = {
    "grain": (
        "As its documentation says: `grain.experimental.ElasticIterator(dataset, global_batch_size, ShardOptions)`, "
        "`get_state` of any shard restores all.",
        "Growth and a second source: one more shuffled `MapDataset` in `MapDataset.concatenate`, in the order of "
        "arrival, so new text is read behind all old text.",
        "Filters: `ElasticIterator` refuses them (`ElasticIterator does not support `filter` transformation.`), and "
        "there is no dedup; kept texts were chosen beforehand.",
    ),
    "mosaic": (
        "As its documentation says: `StreamingDataset(shuffle=True)` over MDS, `StreamingDataLoader.state_dict` of "
        "rank 0 loaded on all ranks (*fast resumption*, *elastic determinism*).",
        "Growth and a second source: one more `Stream`. Determinism is promised for the same streams only; nothing "
        "checks that they are, and nothing is said when they are not.",
        "Filters and dedup: neither in the dataset; kept texts were chosen before the shards were written.",
        "It imports torchvision, whose wheel does not load beside a CPU build of torch; the runner declares two "
        "operators that are not used, so that the import passes.",
    ),
}


class Rank(NamedTuple):
    """What a rank of a loader is told, as JSON."""

    parts: list[str]  # files of JSON lines, in the order of arrival
    rank: int
    world: int
    batch: int  # documents in a global batch
    state: str | None  # file to start from
    save_at: int  # global step behind which the state is saved; 0: never
    save_to: str
    notes: str  # file to write batches to
    port: int


def measure(part: str, name: str, corpus: Corpus, labels: Sequence[str], cache: Path) -> list[dict[str, Any]]:
    """Run the chains of one loader on one corpus: a row for each pair of world sizes."""
    python = environment(part, cache)
    with tempfile.TemporaryDirectory(prefix="headrace-matrix-") as folder:
        bench = Bench(part, python, Path(folder), corpus)
        undisturbed = bench.attempt("undisturbed", 2, len(corpus.growth), None, 0).batches
        seen = sorted(int(n) for batch in undisturbed for n in batch)
        if seen != list(range(bench.num_documents)):
            raise RuntimeError(f"the undisturbed run of {part} saw {len(set(seen))} of {bench.num_documents} documents")
        return [chain(bench, name, label, undisturbed) for label in labels]


def environment(part: str, cache: Path) -> Path:
    """The interpreter of a loader's environment, built if it is not there or its versions changed."""
    wanted = HERE / f"requirements-{part}.txt"
    home = cache / part
    stamp = home / "installed.txt"
    if not stamp.exists() or stamp.read_text() != wanted.read_text():
        sys.stderr.write(f"  building {home} ...\n")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        pip = [str(home / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", str(wanted)], check=True, stderr=subprocess.DEVNULL)
        stamp.write_text(wanted.read_text())
    return home / "bin" / "python"


class Bench:
    """One loader on one corpus."""

    def __init__(self, part: str, python: Path, folder: Path, corpus: Corpus) -> None:
        self.part, self.python, self.folder, self.num_documents = part, python, folder, 0
        self.stages: list[list[str]] = []  # files that are there at the start, and before each resume
        self.appended: set[int] = set()
        files: list[str] = []
        for stage, arrived in enumerate((corpus.first, *corpus.growth)):
            for delivery in arrived:
                path = folder / f"{len(files)}-{delivery.source}.jsonl"
                numbers = range(self.num_documents, self.num_documents + len(delivery.trained))
                rows = zip(numbers, delivery.trained, strict=True)
                path.write_text("".join(json.dumps({"id": n, "text": text}) + "\n" for n, text in rows))
                files.append(str(path))
                self.num_documents += len(numbers)
                self.appended |= set(numbers) if stage else set()
            self.stages.append(list(files))

    def attempt(self, run: str, world: int, stage: int, state: Path | None, save_at: int) -> Attempt:
        """Run all ranks on what is there at `stage`, to the end of the epoch, and kill them there."""
        home = self.folder / run / str(stage)
        home.mkdir(parents=True)
        port = 20000 + hash((run, stage, os.getpid())) % 20000
        given = (self.stages[stage], world, BATCH_DOCUMENTS, str(state) if state else None, save_at)
        started = []
        for rank in range(world):
            parts, _, batch, start, save = given
            told = Rank(parts, rank, world, batch, start, save, f"{home}/state.json", f"{home}/{rank}.jsonl", port)
            command = [str(self.python), "-m", f"benchmarks.matrix.{self.part}", json.dumps(told._asdict())]
            quiet = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
            error = (home / f"{rank}.stderr").open("w")
            started.append(subprocess.Popen(command, cwd=home, env={**os.environ, **quiet}, stderr=error))
        try:
            wait_for_the_end([home / f"{rank}.jsonl" for rank in range(world)], started)
        finally:
            for process in started:
                process.send_signal(signal.SIGKILL)
                process.wait()
        start = json.loads(state.read_text())["step"] if state else 0
        return Attempt(start, tuple(together([home / f"{rank}.jsonl" for rank in range(world)])))


def chain(bench: Bench, name: str, label: str, undisturbed: Sequence[Batch]) -> dict[str, Any]:
    """Four attempts, three resumes, each compared with the undisturbed run to the end of its epoch."""
    worlds, cells = WORLDS[label] * 2, {}
    attempts: list[Attempt] = []
    state: Path | None = None
    line: dict[str, Any] = {"corpus": name, "worlds": label, "notes": NOTES[bench.part]}
    for number, (world, save_at) in enumerate(zip(worlds, (*SAVES, 0), strict=True)):
        try:
            attempts.append(bench.attempt(label, world, number, state, save_at))
        except RuntimeError as error:
            return {**line, "cells": {r: cells.get(r, f"refused: {error}") for r in RESUMES}, "ok": False}
        if number:
            known = bench.stages[number]
            expected = undisturbed if known == bench.stages[-1] else None
            got = consumed(attempts)
            cells[RESUMES[number - 1]] = str(against(bench, got, expected, number, world))
        state = bench.folder / label / str(number) / "state.json"
    return {**line, "cells": cells, "ok": set(cells.values()) == {"exact"}}


def against(bench: Bench, got: Sequence[Batch], expected: Sequence[Batch] | None, stage: int, world: int) -> Any:
    """Compare with a run that was never killed, on what is there at this stage."""
    if expected is None:
        name = f"undisturbed-{stage}"
        home = bench.folder / name / str(stage)
        if not home.exists():
            bench.attempt(name, 2, stage, None, 0)
        expected = list(together([home / f"{rank}.jsonl" for rank in range(2)]))
    return compare(got, expected, frozenset(bench.appended))


def wait_for_the_end(notes: Sequence[Path], started: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait until every rank has written that it is at the end; RuntimeError with its last words if one ended before."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if all(path.exists() and path.read_text().endswith('"end"\n') for path in notes):
            return
        for path, process in zip(notes, started, strict=True):
            if process.poll() is not None:
                said = path.with_suffix(".stderr").read_text().strip().splitlines() or ["it said nothing"]
                raise RuntimeError(said[-1])
        time.sleep(0.02)
    raise TimeoutError(
        f"not at the end after {SECONDS:.0f} s; the machine is too busy, or a rank hangs: {notes[0].parent}"
    )


def together(notes: Sequence[Path]) -> Iterator[Batch]:
    """The global batches: what all ranks had at each step."""
    ranks = [[json.loads(line) for line in path.read_text().splitlines()[:-1]] for path in notes]
    for step in range(max(map(len, ranks))):
        yield tuple(n for batches in ranks for n in (batches[step] if step < len(batches) else ()))


def note_batches(told: Rank, batches: Iterator[list[int]], first: int, state: Any) -> None:
    """Inside a rank: write every batch down, save `state()` behind a step, and wait at the end to be killed."""
    with Path(told.notes).open("w", buffering=1) as notes:
        for step, batch in enumerate(batches, start=first + 1):
            notes.write(json.dumps(batch) + "\n")
            if step == told.save_at and told.rank == 0:
                Path(told.save_to).write_text(json.dumps({"step": step, "state": state()}))
        notes.write('"end"\n')
    time.sleep(SECONDS)
