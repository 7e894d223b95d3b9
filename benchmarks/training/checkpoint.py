"""How long does a checkpoint stop training, and how long does it take to write, next to DeepSpeed's own?

One process, about 10 M parameters, ZeRO-2 in float32. In every repeat one step, then our snapshot (the stall) and its
file with flush to disk (a thread's work in a run), then DeepSpeed's `save_checkpoint` of the same state, which blocks.
"""

import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.rows import Goal, Row, paired
from cluster.rows import Rows
from models.config import EngineConfig, ModelConfig, OptimConfig
from models.engine import checkpoint, engine
from models.kinds.decoder import Decoder
from ray_jobs.config.blocks import CheckpointConfig

VOCABULARY = 257
BIG = ModelConfig(layers=8, width=320, heads=5, row_tokens=64)
TINY = ModelConfig(layers=1, width=32, heads=2, row_tokens=64)


def measure(quick: bool) -> list[Row]:
    """Stall and write time of both; quick: three repeats of the same model."""
    return compare(BIG, 3 if quick else 9)


def compare(model: ModelConfig, repeats: int) -> list[Row]:
    """Take checkpoints of one model in turns."""
    config = EngineConfig(zero_stage=2, precision="fp32", batch_tokens=64, micro_batch_rows=1)
    made = engine.start(model, VOCABULARY, config, OptimConfig(), seed=0)
    tokens = np.random.default_rng(0).integers(0, 256, (1, model.row_tokens)).astype(np.int32)
    rows = Rows(tokens, tokens, np.zeros_like(tokens))
    stalls, writes, blocks, bare_blocks = [], [], [], []
    buffers = None
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        for _ in range(repeats + 1):  # the first one touches memory and is told apart
            made.step(rows, model.row_tokens, 1e-4)
            began = time.perf_counter()
            buffers = checkpoint.snapshot(made, buffers)
            stalls.append(time.perf_counter() - began)
            written = buffers.write(Path(folder) / "ours.safetensors")
            writes.append(time.perf_counter() - began - stalls[-1])
            began = time.perf_counter()
            made.deepspeed.save_checkpoint(folder, tag="theirs", exclude_frozen_parameters=False)
            bare_blocks.append(time.perf_counter() - began)
            _flush(Path(folder) / "theirs")
            blocks.append(time.perf_counter() - began)
            shutil.rmtree(Path(folder) / "theirs")
    made.close()
    every = CheckpointConfig.model_validate({}).every_seconds
    share = [stall / every for stall in stalls[1:]]
    millions = Decoder().num_parameters(model, VOCABULARY) / 1e6
    raw = {"parameters_million": millions, "bytes": written.size_bytes, "first_stall_s": stalls[0]}
    what, theirs = f"checkpoint of {millions:.1f} M parameters", "DeepSpeed's save_checkpoint"
    ratios = paired(stalls[1:], bare_blocks[1:])
    stall_note = "one process; a first snapshot, which touches the buffers, took " + f"{stalls[0]:.3f} s."
    return [
        Row(f"{what}: stall", "s", stalls[1:], theirs, bare_blocks[1:], ratios, note=stall_note, raw=raw),
        Row(
            f"{what}: until it is on disk",
            "s",
            [a + b for a, b in zip(stalls[1:], writes[1:], strict=True)],
            theirs + ", then flushed",
            blocks[1:],
            paired([a + b for a, b in zip(stalls[1:], writes[1:], strict=True)], blocks[1:]),
            note="ours hashes (sha256) what it writes; in a run a thread does it beside the next steps.",
        ),
        Row(
            f"{what}: stall share of wall time",
            "",
            share,
            goal=Goal(0.01, at_least=False, of_ratio=False),
            why="The copy to host memory takes longer than 1 % of the time between two commits.",
            note=f"stall over checkpoint.every_seconds={every:g} s, the default, by arithmetic; for a run see `stall`.",
        ),
    ]


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
