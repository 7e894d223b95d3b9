"""A plain torch loop that goes on after any kill, at any number of processes, with what has arrived meanwhile.

headrace ingest -c mine.yaml
torchrun --nproc-per-node 2 torch_loop.py ./lake mine ./out        # or: python torch_loop.py ./lake mine ./out
"""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

import headrace

store, run, out = sys.argv[1], sys.argv[2], Path(sys.argv[3])
rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
SETTINGS = {"row_tokens": 256, "batch_tokens": 2048, "round": {"tokens": 16_384, "replay_share": 0.25}}


class Model(torch.nn.Module):
    """Your model; this one predicts a token from the one before it and its place."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.place = torch.nn.Embedding(50_000, 64), torch.nn.Embedding(256, 64)
        self.head = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.GELU(), torch.nn.Linear(128, 50_000))

    def forward(self, tokens: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        return self.head(self.token(tokens) + self.place(places))


if world > 1:
    dist.init_process_group("gloo")
torch.manual_seed(0)
model = Model()
trained = DistributedDataParallel(model) if world > 1 else model
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
last = out / "last.pt"
out.mkdir(parents=True, exist_ok=True)


def save(feed: headrace.LoopFeed) -> None:
    """One file with weights, optimizer and the place in the data; once it is on disk, say so."""
    if rank == 0:
        half = last.with_suffix(".half")
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "feed": feed.state_dict()}, half)
        half.replace(last)
    feed.commit(checkpoint=str(last))  # from here on its documents count as trained


with headrace.feed(store, run, rank, world, SETTINGS) as feed:
    if last.exists():
        saved = torch.load(last, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        feed.load_state_dict(saved["feed"])
    for batch in feed:  # one global batch a step; these are the rows of this rank
        tensors = batch.tensors()
        logits = trained(tensors["input_ids"], tensors["position_ids"])
        loss = F.cross_entropy(logits.flatten(0, 1), tensors["shift_labels"].flatten(), reduction="sum")
        loss = loss * world / batch.predictions  # DDP averages over ranks: the mean over the global batch
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if rank == 0:
            print(f"step {batch.step} loss {loss.item():.3f}", flush=True)
        if batch.step % 10 == 0:
            save(feed)
    save(feed)
