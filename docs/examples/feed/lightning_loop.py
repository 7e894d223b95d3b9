"""Lightning on a feed: its count of steps, which each of its checkpoints holds, is the place in the data.

python lightning_loop.py ./lake mine ./out
"""

import sys
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch.nn import functional as F

import headrace

store, run, out = sys.argv[1], sys.argv[2], Path(sys.argv[3])
SETTINGS = {"row_tokens": 256, "batch_tokens": 2048, "round": {"tokens": 16_384, "replay_share": 0.25}}


class Committing(TorchCheckpointIO):
    """Write a checkpoint as ever, then say that its documents are in it."""

    def __init__(self, feed: headrace.LoopFeed) -> None:
        super().__init__()
        self.feed = feed

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        super().save_checkpoint(checkpoint, path, storage_options)
        self.feed.commit(checkpoint["global_step"], str(path))


class Model(L.LightningModule):
    """Your model, and in it where the feed goes on."""

    def __init__(self, feed: headrace.LoopFeed) -> None:
        super().__init__()
        self.feed = feed
        self.token = torch.nn.Embedding(50_000, 64)
        self.head = torch.nn.Linear(64, 50_000)

    def on_load_checkpoint(self, checkpoint) -> None:
        self.feed.load_state_dict({"step": checkpoint["global_step"]})

    def train_dataloader(self) -> "Steps":
        return Steps(self.feed)

    def training_step(self, batch, index):
        logits = self.head(self.token(batch["input_ids"]))
        loss = F.cross_entropy(logits.flatten(0, 1), batch["shift_labels"].flatten())
        print(f"step {self.global_step + 1} loss {loss.item():.3f}", flush=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


class Steps:
    """One batch a step."""

    def __init__(self, feed: headrace.LoopFeed) -> None:
        self.feed = feed

    def __iter__(self):
        return (batch.tensors() for batch in self.feed)


with headrace.feed(store, run, settings=SETTINGS) as feed:
    saving = ModelCheckpoint(out, every_n_train_steps=10, save_top_k=1, save_last=True, enable_version_counter=False)
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=-1,
        max_epochs=1,
        callbacks=[saving],
        plugins=[Committing(feed)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    last = out / "last.ckpt"
    trainer.fit(Model(feed), ckpt_path=last if last.exists() else None, weights_only=True)
    trainer.save_checkpoint(last)
