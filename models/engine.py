"""How is one global batch turned into one step of the model, on any number of workers?

`start` wraps the model in a DeepSpeed engine (ZeRO 0-3); `Engine.step` is the train step, whole. Every micro
batch's sum of nats is scaled by world size / labels of the *global* batch, so that DeepSpeed's average over
ranks is the exact mean over all labels: loss and gradient are the same at any world size, up to the order of
additions. Gradients are accumulated and reduced in float32, also for bf16 weights: twice the traffic, no
drift with the batch.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from cluster.units import Settings
from models import zero
from models.loss import document_nats
from models.optim import OptimConfig, parameter_groups
from models.transformer import ModelConfig, Transformer, initialise, load_weights

MAX_WORLD = 4096  # how far an error message looks for world sizes that fit


class EngineConfig(Settings):
    """How the global batch is laid over workers, and in which precision."""

    workers: int | tuple[int, int] = Field(1, description="Number of workers, or [fewest, most].")
    zero_stage: Literal[0, 1, 2, 3] = Field(1, description="ZeRO shards 1 optimizer, 2 + gradients, 3 + weights.")
    precision: Literal["auto", "bf16", "fp32"] = Field("auto", description="auto: bf16 where it is fast.")
    micro_batch_rows: int = Field(8, ge=1, le=65536, description="Most rows in one forward pass of a worker.")
    batch_tokens: int = Field(16384, ge=8, description="Tokens in the global batch, whatever the workers.")
    threads: int = Field(1, ge=1, le=512, description="Threads of a worker on a CPU; more than cores collapses.")

    @model_validator(mode="after")
    def _workers_are_a_range(self) -> "EngineConfig":
        if self.fewest < 1 or self.most < self.fewest:
            raise ValueError(f"workers={self.workers} must be a number from 1, or [fewest, most] such as [1, 4]")
        return self

    @property
    def fewest(self) -> int:
        """Fewest workers to train with."""
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @property
    def most(self) -> int:
        """Most workers to train with."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]

    def batch_rows(self, row_tokens: int) -> int:
        """Rows in the global batch; ValueError where it is no whole number of rows."""
        if self.batch_tokens % row_tokens:
            raise ValueError(self._misfit(self.fewest, row_tokens))
        return self.batch_tokens // row_tokens

    def split(self, world_size: int, row_tokens: int) -> tuple[int, int]:
        """Return (accumulation, micro batch rows) of each of `world_size` workers.

        >>> EngineConfig(batch_tokens=8192, micro_batch_rows=6).split(2, 256)
        (4, 4)
        """
        rows = self.batch_rows(row_tokens)
        if rows % world_size:
            raise ValueError(self._misfit(world_size, row_tokens))
        mine = rows // world_size
        micro = max(size for size in range(1, min(self.micro_batch_rows, mine) + 1) if mine % size == 0)
        return mine // micro, micro

    def world_sizes(self, row_tokens: int) -> list[int]:
        """Every number of workers in the configured range that splits the global batch evenly."""
        rows = self.batch_rows(row_tokens)
        return [size for size in range(self.fewest, self.most + 1) if rows % size == 0]

    def _misfit(self, world_size: int, row_tokens: int) -> str:
        rows = self.batch_tokens // row_tokens
        better = -(-self.batch_tokens // (row_tokens * world_size)) * row_tokens * world_size
        text = f"engine.batch_tokens={self.batch_tokens} cannot be split over {world_size} workers "
        text += f"in rows of {row_tokens} tokens: use "
        if rows and self.batch_tokens % row_tokens == 0:
            fits = [n for n in range(1, min(rows, MAX_WORLD) + 1) if rows % n == 0]
            near = sorted(fits, key=lambda n: abs(n - world_size))[:3]
            text += f"{', '.join(map(str, sorted(near)[:-1]))} or {max(near)} workers, or " if len(near) > 1 else ""
        return text + f"batch_tokens={better}."


class Rows(NamedTuple):
    """One rank's rows, int32 [R, L]: label -100 predicts nothing; segments number documents, -1 pads."""

    inputs: NDArray[np.int32]
    labels: NDArray[np.int32]
    segments: NDArray[np.int32]


class StepResult(NamedTuple):
    """What a step did; the same on every rank."""

    loss: float  # mean nats over the labels of the global batch
    grad_norm: float  # global, before clipping
    skipped: bool  # loss or gradient not finite: weights and optimizer unchanged


def device() -> torch.device:
    """Return the device this process computes on."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def resolve_precision(precision: str) -> Literal["bf16", "fp32"]:
    """Turn `auto` into bf16 where the device multiplies it natively (on CPUs: AMX or AVX512-BF16)."""
    if precision != "auto":
        return "bf16" if precision == "bf16" else "fp32"
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text().split("\n\n", 1)[0] if cpuinfo.exists() else ""
    return "bf16" if "avx512_bf16" in flags or "amx_bf16" in flags else "fp32"


@dataclass
class Engine:
    """A model in training on this rank, and how the global batch falls on it."""

    deepspeed: Any
    accumulation: int
    micro_rows: int

    @property
    def module(self) -> Transformer:
        """The model, without DeepSpeed."""
        return self.deepspeed.module

    def step(self, rows: Rows, total_predictions: int, lr: float) -> StepResult:
        """Train on this rank's `accumulation * micro_rows` part of a global batch.

        `total_predictions`: labels other than -100 in the global batch. A loss or gradient not finite on
        any rank skips the step on all ranks: nothing changes but the report.
        """
        for group in self.deepspeed.optimizer.param_groups:
            group["lr"] = lr
        scale = dist.get_world_size() / max(1, total_predictions)
        total = torch.zeros((), dtype=torch.float64, device=device())
        for inputs, labels, segments in self._micro_batches(rows):
            nats = self.deepspeed(inputs, segments, labels)
            total += nats.detach()
            self.deepspeed.backward(nats * scale, scale_wrt_gas=False)
            self.deepspeed.step()
        dist.all_reduce(total)
        norm = float(self.deepspeed.get_global_grad_norm() or 0.0)
        return StepResult(
            loss=float(total) / max(1, total_predictions),
            grad_norm=norm,
            skipped=not self.deepspeed.was_step_applied(),
        )

    def evaluate(self, rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return (nats, predictions) [R, S] of each segment of each of this rank's rows; no gradients.

        Under ZeRO-3 every rank must call it with the same number of rows; ranks with fewer pad with rows of
        -100.
        """
        num_segments = max(1, int(rows.segments.max(initial=0)) + 1)
        nats, predictions = [], []
        self.deepspeed.eval()
        for inputs, labels, segments in self._micro_batches(rows):
            n, p = document_nats(self.deepspeed, inputs, labels, segments, num_segments)
            nats.append(n.cpu().numpy())
            predictions.append(p.cpu().numpy())
        self.deepspeed.train()
        return np.concatenate(nats), np.concatenate(predictions)

    def _micro_batches(self, rows: Rows) -> Any:
        for start in range(0, len(rows.inputs), self.micro_rows):
            part = slice(start, start + self.micro_rows)
            inputs, labels, segments = (torch.from_numpy(np.array(field[part])) for field in rows)
            yield inputs.to(device(), non_blocking=True), labels.to(device(), non_blocking=True), segments

    def close(self) -> None:
        """Release DeepSpeed's buffers and hooks."""
        self.deepspeed.destroy()


def start(
    model_config: ModelConfig,
    vocab_size: int,
    engine_config: EngineConfig,
    optim_config: OptimConfig,
    seed: int,
    weights: dict[str, Tensor] | None = None,
) -> Engine:
    """Build the model from `seed` (or from full `weights`) and wrap it for training on this rank.

    Joins the process group that exists (Ray Train, torchrun); without one it trains alone.
    """
    join(engine_config.threads)
    model = Transformer(model_config, vocab_size)
    initialise(model, seed)
    if weights is not None:
        load_weights(model, weights)
    accumulation, micro_rows = engine_config.split(dist.get_world_size(), model_config.row_tokens)
    wrapped = zero.wrap(
        model.to(device()),
        parameter_groups(model, optim_config),
        optim_config,
        stage=engine_config.zero_stage,
        bf16=resolve_precision(engine_config.precision) == "bf16",
        accumulation=accumulation,
        micro_rows=micro_rows,
    )
    return Engine(wrapped, accumulation, micro_rows)


def join(threads: int) -> None:
    """Enter the process group: the one that exists, torchrun's, or a group of one."""
    os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed insists on it
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    else:
        torch.set_num_threads(threads)
    if dist.is_initialized():
        return
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if "WORLD_SIZE" in os.environ and "MASTER_ADDR" in os.environ:
        dist.init_process_group(backend)
    else:
        alone = dist.HashStore()  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=alone, rank=0, world_size=1)
