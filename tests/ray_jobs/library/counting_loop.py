"""A loop of somebody else's whose weights are the truth: they count how often each document was trained.

    python -m tests.ray_jobs.library.counting_loop STORE RUN FOLDER      (RANK, WORLD_SIZE, MASTER_PORT are variables)

It knows nothing of rounds or of the ledger: it takes batches, adds what stands in them to its weights over all ranks,
saves weights and state every few steps, and commits after that. Killed at any moment, it starts from its last file.
"""

import json
import os
import re
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

import headrace

DOCUMENTS = 4000  # more than any test writes
SETTINGS = {"row_tokens": 512, "batch_tokens": 1024, "round": {"tokens": 8192, "replay_share": 0}}
SAVE_EVERY = 3


def count(batch: headrace.LoopBatch) -> torch.Tensor:
    """How many positions of each document this rank's rows predict, as its text says."""
    found = torch.zeros(DOCUMENTS, dtype=torch.int64)
    for labels, segments in zip(batch.labels, batch.segments, strict=True):
        for segment in range(segments.max() + 1):
            piece = labels[segments == segment]
            text = bytes(piece[piece < 256].astype("uint8")).decode()
            found[int(re.match(r"Document (\d+):", text)[1]) if text.startswith("Doc") else -1] += len(piece)
    return found


def main(store: str, run: str, folder: Path) -> None:
    """Train until no document waits."""
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group("gloo", rank=rank, world_size=world)
    weights, last = torch.zeros(DOCUMENTS, dtype=torch.int64), folder / "last.json"
    with headrace.feed(store, run, rank, world, SETTINGS) as feed:
        if last.exists():
            saved = json.loads(last.read_text())
            weights += torch.tensor(saved["weights"])
            feed.load_state_dict(saved["feed"])
        for batch in feed:
            step = count(batch)
            dist.all_reduce(step)
            weights += step
            if rank == 0:
                (folder / "step").write_text(str(batch.step))
            if batch.step % SAVE_EVERY == 0:
                save(feed, weights, last, rank)
            time.sleep(float(os.environ.get("STEP_S", "0")))
        save(feed, weights, last, rank)


def save(feed: headrace.LoopFeed, weights: torch.Tensor, last: Path, rank: int) -> None:
    """Make weights and state durable in one act, and commit."""
    if rank == 0:
        half = last.with_suffix(".half")
        half.write_text(json.dumps({"weights": weights.tolist(), "feed": feed.state_dict()}))
        half.replace(last)
    feed.commit(checkpoint=str(last))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
