"""How is one global batch turned into one step of the model, on any number of workers?

`start` wraps the model in a DeepSpeed engine (ZeRO 0-3); `Engine.step` is the train step, whole. Every micro
batch's sum of nats is scaled by world size / labels of the *global* batch, so that DeepSpeed's average over
ranks is the exact mean over all labels: loss and gradient are the same at any world size, up to the order of
additions. Gradients are accumulated and reduced in float32, also for bf16 weights: twice the traffic, no
drift with the batch.
"""

import math
import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from cluster.rows import Rows
from models.config import EngineConfig, ModelConfig, OptimConfig
from models.device import compute_the_same_again, device, micro_batches
from models.engine import zero
from models.engine.adapters import RowsAt, draw, train_in_part
from models.engine.optim import parameter_groups
from models.engine.rendezvous import join_by_environment
from models.engine.sharding import share_out, without_memory
from models.kinds.building import build
from models.kinds.kind import Kind, PredictsAhead
from models.kinds.kinds import kind_of
from models.kinds.loss import document_nats

PROBE_TOKENS = 128


class StepResult(NamedTuple):
    """What a step did; the same on every rank."""

    loss: float  # mean nats over the labels of the global batch
    grad_norm: float  # global, before clipping
    skipped: bool  # loss or gradient not finite, or loss above the limit: weights and optimizer unchanged


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
    config: ModelConfig
    vocab_size: int
    accumulation: int
    micro_rows: int
    base: str | None = None  # name of the checkpoint whose weights it holds frozen
    at: RowsAt | None = None  # where dropout is told which rows are computed; None: there is none
    ahead: tuple[float, ...] = ()  # in the last step: mean nats of each token behind the next one, over its labels

    @property
    def kind(self) -> Kind:
        """What answers for the model's architecture."""
        return kind_of(self.config)

    @property
    def module(self) -> nn.Module:
        """The model, without DeepSpeed."""
        return self.deepspeed.module

    @property
    def precision(self) -> Literal["bf16", "fp32"]:
        """What the model computes in."""
        return "bf16" if self.deepspeed.bfloat16_enabled() else "fp32"

    def step(self, rows: Rows, total_predictions: int, lr: float, most_loss: float = math.inf) -> StepResult:
        """Train on this rank's `accumulation * micro_rows` part of a global batch.

        `total_predictions`: labels other than -100 in the global batch. A loss or gradient not finite on
        any rank, or a loss above `most_loss`, skips the step on all ranks: nothing changes but the report.
        """
        for group in self.deepspeed.optimizer.param_groups:
            group["lr"] = lr
        scale = dist.get_world_size() / max(1, total_predictions)
        total = torch.zeros((), dtype=torch.float64, device=device())
        kind = self.kind
        for number, batch in enumerate(micro_batches(kind.arrange(rows), self.micro_rows), start=1):
            self._tell_dropout(number)
            nats = kind.loss(self.deepspeed, batch)
            total += nats.detach()
            if number == self.accumulation:
                dist.all_reduce(total)
                if total / max(1, total_predictions) > most_loss:
                    scale = math.nan  # the one way to skip that every ZeRO stage has
            self.deepspeed.backward(nats * scale, scale_wrt_gas=False)
            self.deepspeed.step()
        norm = float(self.deepspeed.get_global_grad_norm() or 0.0)
        self.ahead = self._mean_ahead()
        return StepResult(
            loss=float(total) / max(1, total_predictions),
            grad_norm=norm,
            skipped=not self.deepspeed.was_step_applied(),
        )

    def _mean_ahead(self) -> tuple[float, ...]:
        """Mean nats of further tokens over the last global batch; none where the model predicts the next one alone."""
        if not isinstance(self.module, PredictsAhead):
            return ()
        sums = self.module.take_ahead()
        dist.all_reduce(sums)
        return tuple((sums[:, 0] / sums[:, 1].clamp(min=1)).tolist())

    def _tell_dropout(self, micro_batch: int) -> None:
        """Say which rows of the global batch come next; micro_batch is counted from 1."""
        if self.at is not None:
            before = dist.get_rank() * self.accumulation + micro_batch - 1
            self.at.step, self.at.first_row = zero.get_steps(self.deepspeed), before * self.micro_rows

    def evaluate(self, rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return (nats, predictions) [R, S] of each segment of each of this rank's rows; no gradients.

        Under ZeRO-3 every rank must call it with the same number of rows; ranks with fewer pad with rows of
        -100.
        """
        num_segments = max(1, int(rows.segments.max(initial=0)) + 1)
        nats, predictions = [], []
        self.deepspeed.eval()
        kind = self.kind
        for batch in micro_batches(kind.arrange(rows), self.micro_rows):
            n, p = document_nats(lambda batch: kind.nats(self.deepspeed, batch), batch, num_segments)
            nats.append(n.cpu().numpy())
            predictions.append(p.cpu().numpy())
        self.deepspeed.train()
        return np.concatenate(nats), np.concatenate(predictions)

    def probe(self) -> float:
        """Return the loss on one row of made-up tokens: a checksum of what the weights compute. All ranks call it.

        The same on every rank; on equal weights it differs by rounding only.
        """
        count = min(PROBE_TOKENS, self.config.row_tokens)
        made = np.arange(1, count + 2, dtype=np.int64) ** 2 % self.vocab_size
        row = made.astype(np.int32)[None]
        nats, predictions = self.evaluate(Rows(row[:, :-1], row[:, 1:], np.zeros((1, count), np.int32)))
        return float(nats.sum() / predictions.sum())

    def close(self) -> None:
        """Release DeepSpeed's buffers and hooks."""
        self.deepspeed.destroy()


def start(
    model_config: ModelConfig,
    vocab_size: int,
    engine_config: EngineConfig,
    optim_config: OptimConfig,
    seed: int | None,
    weights: Mapping[str, Tensor] | None = None,
) -> Engine:
    """Build the model from `seed` (or from full `weights`) and wrap it for training on this rank.

    seed None: weights are undrawn, because a checkpoint is restored into them; at ZeRO-3 no rank then holds more than
    its shard of them.

    Joins the process group that exists (Ray Train, torchrun); without one it trains alone.
    """
    join(engine_config.threads)
    bf16 = resolve_precision(engine_config.precision) == "bf16"
    is_sharded = engine_config.zero_stage == 3 and seed is None and weights is None
    with without_memory() if is_sharded else nullcontext():
        model = build(model_config, vocab_size, seed, weights)
        at = train_in_part(model, model_config, vocab_size)
    if is_sharded:
        share_out(model, bf16)
    accumulation, micro_rows = engine_config.split(dist.get_world_size(), model_config.row_tokens)
    wrapped = zero.wrap(
        model.to(device()),
        parameter_groups(model, optim_config),
        optim_config,
        engine=engine_config,
        bf16=bf16,
        accumulation=accumulation,
        micro_rows=micro_rows,
    )
    made = Engine(wrapped, model_config, vocab_size, accumulation, micro_rows, at=at)
    if model_config.lora is not None and seed is not None:
        for part in zero.fragments(wrapped):
            begin_adapter(part, seed)
        zero.refresh_weights(wrapped)
    return made


def begin_adapter(part: zero.Fragment, seed: int) -> None:
    """Let a rank's stretch of an adapter's matrix begin; the forward pass sees it after `zero.refresh_weights`."""
    drawn = draw(part.name, part.shape, seed).view(-1)
    part.weight.copy_(drawn[part.start : part.start + part.weight.numel()])
    for state in part.states.values():
        state.zero_()


def join(threads: int) -> None:
    """Enter the process group: the one that exists, torchrun's, or a group of one."""
    os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed insists on it
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        compute_the_same_again()
    else:
        torch.set_num_threads(threads)
    if dist.is_initialized():
        return
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if "WORLD_SIZE" in os.environ and "MASTER_ADDR" in os.environ:
        join_by_environment(backend)
    else:
        alone = dist.HashStore()  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=alone, rank=0, world_size=1)
