"""Hugging Face's Trainer on a feed: its count of steps, which each of its checkpoints holds, is the place in the data.

torchrun --nproc-per-node 2 hugging_face.py ./lake mine ./out      # or: python hugging_face.py ./lake mine ./out
"""

import os
import sys
from pathlib import Path

from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

import headrace

store, run, out = sys.argv[1:4]
rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
ROWS, ACCUMULATE = 2, 4 // world  # rows of a micro batch; micro batches of a step, fewer where there are more ranks
SETTINGS = {
    "row_tokens": 256,
    "batch_tokens": ROWS * ACCUMULATE * world * 256,  # one step of the Trainer, whatever the number of ranks
    "round": {"tokens": 16_384, "replay_share": 0.25},
}


class FedTrainer(Trainer):
    """A Trainer that takes micro batches from a feed, as they are: no sampler, no prefetch, no second split by rank."""

    def __init__(self, feed: headrace.LoopFeed, **rest: object) -> None:
        super().__init__(**rest)
        self.feed = feed
        self.add_callback(Commit(feed))

    def get_train_dataloader(self) -> "MicroBatches":
        return MicroBatches(self.feed)


class MicroBatches:
    """Every step as the Trainer's micro batches."""

    def __init__(self, feed: headrace.LoopFeed) -> None:
        self.feed = feed

    def __iter__(self):
        for batch in self.feed:
            for part in batch.split(ROWS):
                yield part.tensors()


class Commit(TrainerCallback):
    """Begin where the checkpoint is that was loaded; commit each one that was written."""

    def __init__(self, feed: headrace.LoopFeed) -> None:
        self.feed = feed

    def on_train_begin(self, args, state, control, **rest):
        if state.global_step:
            self.feed.load_state_dict({"step": state.global_step})

    def on_epoch_end(self, args, state, control, **rest):  # no document waits
        control.should_save = True

    def on_save(self, args, state, control, **rest):
        self.feed.commit(state.global_step, f"{args.output_dir}/checkpoint-{state.global_step}")


config = LlamaConfig(
    vocab_size=50_000,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    use_cache=False,
)
arguments = TrainingArguments(
    output_dir=out,
    per_device_train_batch_size=ROWS,
    gradient_accumulation_steps=ACCUMULATE,
    max_steps=1_000_000,  # a feed has no length; it ends where no document waits
    ignore_data_skip=True,  # the feed finds its place itself
    save_steps=10,
    save_total_limit=2,
    learning_rate=1e-3,
    lr_scheduler_type="constant",
    logging_steps=1,
    report_to=[],
    use_cpu=True,  # of this example
    disable_tqdm=True,
)
with headrace.feed(store, run, rank, world, SETTINGS) as feed:
    trainer = FedTrainer(feed, model=LlamaForCausalLM(config), args=arguments)
    checkpoint = get_last_checkpoint(out) if Path(out).is_dir() else None
    trainer.train(resume_from_checkpoint=checkpoint)
