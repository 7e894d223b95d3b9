"""Do the trainers of others train each batch of the feed once, as the examples of the docs drive them?

Each program of docs/examples/feed runs as it stands, in real processes, behind a spy that writes down which batch the
feed handed out for which step. It is killed by SIGKILL at 1, 2 and 1 ranks while documents arrive; then what the ranks
were given for the steps that stayed is compared with the recorded rounds, and the trainer's own count of steps too.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import headrace
from tests.ray_jobs.library.fed_store import grow
from tests.support.root import ROOT
from tests.support.runs import free_ports

EXAMPLES = ROOT / "docs" / "examples" / "feed"
GROWTH = 300
SPY = """
import json, os, runpy, sys
import headrace, xxhash
given, place = headrace.LoopFeed.__next__, sys.argv.pop(1)
def spied(feed):
    batch = given(feed)
    with open(f"{place}-{feed.rank}", "a") as notes:
        rows = [xxhash.xxh3_64_hexdigest(row.tobytes()) for row in batch.labels]
        notes.write(json.dumps([batch.step, feed.ranks.world, rows]) + chr(10))
    return batch
headrace.LoopFeed.__next__ = spied
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def start(example: str, store: str, folder: Path, world: int) -> list[subprocess.Popen[bytes]]:
    """Start the ranks of an example."""
    common = {**os.environ, "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_ports(1)[0])}
    common |= {"PYTHONPATH": str(ROOT), "LOCAL_WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SPY, str(folder / "notes"), str(EXAMPLES / f"{example}.py")]
    said = (folder / "said.txt").open("a")
    return [
        subprocess.Popen(
            [*command, store, "mine", str(folder / "out")],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=said,
            stderr=said,
        )
        for rank in range(world)
    ]


def notes(folder: Path, rank: int) -> list[tuple[int, int, list[str]]]:
    """What the spy wrote of a rank: step, ranks, its rows."""
    path = folder / f"notes-{rank}"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [tuple(json.loads(line)) for line in lines if line.endswith("\n")]


def kill_after(ranks: list[subprocess.Popen[bytes]], folder: Path, steps: int) -> None:
    """SIGKILL all ranks once rank 0 was given so many more batches."""
    before, deadline = len(notes(folder, 0)), time.monotonic() + 240
    while len(notes(folder, 0)) < before + steps:
        assert all(rank.poll() is None for rank in ranks), (folder / "said.txt").read_text()[-3000:]
        assert time.monotonic() < deadline, (folder / "said.txt").read_text()[-3000:]
        time.sleep(0.02)
    for rank in ranks:
        rank.send_signal(signal.SIGKILL)
        rank.wait()


def steps_of_torch(out: Path) -> int:
    """The steps in the last checkpoint of the plain loop, by its optimizer."""
    saved = torch.load(out / "last.pt", weights_only=True)
    return int(saved["optimizer"]["state"][0]["step"])


def steps_of_trainer(out: Path) -> int:
    """The steps in the last checkpoint of the Trainer."""
    newest = max(int(path.name.split("-")[1]) for path in out.glob("checkpoint-*"))
    return int(json.loads((out / f"checkpoint-{newest}" / "trainer_state.json").read_text())["global_step"])


def steps_of_lightning(out: Path) -> int:
    """The steps in the last checkpoint of Lightning."""
    return int(torch.load(out / "last.ckpt", weights_only=True)["global_step"])


CASES = [
    ("torch_loop", "torch", steps_of_torch, (1, 2, 1)),
    ("hugging_face", "accelerate", steps_of_trainer, (1, 2, 1)),
    ("lightning_loop", "lightning", steps_of_lightning, (1, 1, 1)),
]


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("example", "needs", "steps", "worlds"), CASES, ids=[case[0] for case in CASES])
def test_each_batch_is_trained_once(
    tmp_path: Path, example: str, needs: str, steps: Callable[[Path], int], worlds: tuple[int, ...]
) -> None:
    pytest.importorskip(needs)
    store = grow(tmp_path, GROWTH)
    for number, world in enumerate(worlds):
        kill_after(start(example, store, tmp_path, world), tmp_path, 13)
        assert headrace.verify(store).ok
        if number < 2:
            grow(tmp_path, GROWTH, (number + 1) * GROWTH)
    last = start(example, store, tmp_path, worlds[1])
    assert [rank.wait(300) for rank in last] == [0] * len(last), (tmp_path / "said.txt").read_text()[-3000:]
    account = headrace.verify(store)
    assert (account.ok, account.pending, account.lost, account.repeated) == (True, 0, 0, 0)
    kept = {}
    for rank in range(2):
        for step, world, rows in notes(tmp_path, rank):
            kept.setdefault(step, {})
            if rank == 0:
                kept[step] = {"world": world, 0: rows}
            elif kept[step]["world"] == world:
                kept[step][1] = rows
    recorded = recorded_rows(store)
    assert steps(tmp_path / "out") == len(recorded) == max(kept)
    assert {step: [row for rank in range(of["world"]) for row in of[rank]] for step, of in kept.items()} == recorded


def recorded_rows(store: str) -> dict[int, list[str]]:
    """The rows of every step as the rounds tell them, to one rank that starts at the beginning."""
    import xxhash

    with headrace.feed(store, "mine") as feed:
        feed.load_state_dict({"step": 0})
        found = {b.step: [xxhash.xxh3_64_hexdigest(np.ascontiguousarray(r)) for r in b.labels] for b in feed}
        feed.load_state_dict({"step": len(found)})
        assert list(feed) == []
        return found
