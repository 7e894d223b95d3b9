"""How fast does the model learn, and when?

The learning rate is a pure function of *tokens trained*, not of steps, so that neither the batch size nor
the number of workers changes it. A stream has no end, so the default `infinite` schedule warms up once and
then stays (Ibrahim et al. 2024, "Simple and scalable strategies to continually pre-train"); a candidate is
annealed on a branch by `decay_lr` and the main line goes on undecayed. `wsd` and `cosine` know their end and
need `schedule.tokens`.
"""

import math
from collections.abc import Sequence
from statistics import fmean, pstdev
from typing import Any, Literal

from pydantic import Field, model_validator

from cluster.units import Settings, Share

SPIKE_STEPS = 128  # losses a spike is judged by
DEFAULT_HORIZON = 100_000_000  # what warm-up is a share of where a schedule has no end


class ScheduleConfig(Settings):
    """The learning rate's course over tokens."""

    kind: Literal["constant", "cosine", "wsd", "infinite"] = Field("infinite", description="Shape of the course.")
    tokens: int | None = Field(None, ge=1, description="Horizon in tokens; cosine and wsd need it.")
    warmup: Share = Field(0.01, description="Share of the horizon (absent: 100 M tokens) that warms up.")
    warmup_tokens: int | None = Field(None, ge=0, description="Tokens of warm-up; overrides warmup.")
    decay: Share = Field(0.1, description="Share of the horizon (wsd) or of a round (infinite) that decays.")
    floor: Share = Field(0.0, description="Where decay ends, as a share of the peak learning rate.")

    @model_validator(mode="after")
    def _has_an_end(self) -> "ScheduleConfig":
        if self.kind in ("cosine", "wsd") and self.tokens is None:
            raise ValueError(f"kind={self.kind} needs an end; set tokens, or use kind=infinite for a stream")
        if self.tokens and self.warming_tokens > self.tokens:
            raise ValueError(f"warmup_tokens={self.warming_tokens} is beyond tokens={self.tokens}; lower it")
        if self.kind == "wsd" and self.warmup + self.decay > 1 and self.warmup_tokens is None:
            raise ValueError(f"warmup={self.warmup:g} and decay={self.decay:g} overlap; lower one")
        return self

    @property
    def warming_tokens(self) -> int:
        """Tokens of linear warm-up."""
        if self.warmup_tokens is not None:
            return self.warmup_tokens
        return int(self.warmup * (self.tokens or DEFAULT_HORIZON))


class OptimConfig(Settings):
    """AdamW (Loshchilov and Hutter 2019) with clipping by global norm."""

    lr: float = Field(3e-4, gt=0, le=10, description="Peak learning rate.")
    betas: tuple[float, float] = Field((0.9, 0.95), description="Decay of the first and second moment.")
    eps: float = Field(1e-8, gt=0, description="Added to the root of the second moment.")
    weight_decay: float = Field(0.1, ge=0, le=10, description="Decoupled weight decay of matrices.")
    decay_embeddings: bool = Field(False, description="Decay embedding tables too (OLMo 2 found it harmful).")
    clip_norm: float = Field(1.0, ge=0, description="Largest global gradient norm; 0 does not clip.")
    spike_sigmas: float | None = Field(
        None,
        gt=0,
        description="Skip a step whose loss is so many deviations above the last 128; absent: none.",
    )
    schedule: ScheduleConfig = Field(ScheduleConfig.model_validate({}), description="Its course.")

    @model_validator(mode="after")
    def _betas_are_shares(self) -> "OptimConfig":
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas={self.betas} must lie in [0, 1); use [0.9, 0.95]")
        return self


def spike_limit(losses: Sequence[float], sigmas: float | None) -> float:
    """Return the loss above which a step is a spike and skipped, given the losses of the last steps that were not.

    OLMo 2 (2024) skips at 6 standard deviations of 128 steps. Not the default here: where a stream turns to a new
    subject its loss jumps too, and is just what should be learnt. Needs `SPIKE_STEPS / 4` losses to judge by.

    >>> spike_limit([2.0] * 64 + [4.0] * 64, sigmas=3)
    6.0
    """
    if sigmas is None or len(losses) < SPIKE_STEPS // 4:
        return math.inf
    return fmean(losses) + sigmas * pstdev(losses)


def lr_at(tokens: int, config: OptimConfig) -> float:
    """Return the learning rate of the step that ends at `tokens` trained (its own included: never 0).

    >>> lr_at(50, OptimConfig(lr=1.0, schedule={"warmup_tokens": 100}))
    0.5
    """
    schedule = config.schedule
    warming, end = schedule.warming_tokens, schedule.tokens
    if tokens < warming:
        return config.lr * tokens / warming
    if schedule.kind in ("constant", "infinite") or end is None:
        return config.lr
    if schedule.kind == "cosine":
        progress = min(1.0, (tokens - warming) / max(1, end - warming))
        return config.lr * (schedule.floor + (1 - schedule.floor) * 0.5 * (1 + math.cos(math.pi * progress)))
    decay_tokens = max(1, round(schedule.decay * end))
    return decay_lr((tokens - (end - decay_tokens)) / decay_tokens, config.lr, schedule.floor)


def branch_lr(tokens: int, branched_at: int, branch_tokens: int, config: OptimConfig) -> float:
    """Return the learning rate on a branch of `branch_tokens` that left the main line at `branched_at`."""
    start_lr = lr_at(branched_at, config)
    return decay_lr((tokens - branched_at) / max(1, branch_tokens), start_lr, config.schedule.floor)


def decay_lr(progress: float, start_lr: float, floor: float) -> float:
    """Anneal from `start_lr` to `floor * start_lr` by 1 - sqrt(progress) (Hägele et al. 2024, section 4).

    >>> decay_lr(0.0, 1.0, 0.1), decay_lr(1.0, 1.0, 0.1)
    (1.0, 0.1)
    """
    remaining = 1.0 - math.sqrt(min(1.0, max(0.0, progress)))
    return start_lr * (floor + (1 - floor) * remaining)


def parameter_groups(model: Any, config: OptimConfig) -> list[dict[str, Any]]:
    """Split parameters into decayed (matrices) and not (norms; embedding tables unless asked)."""
    tables = {id(model.embed.weight), id(model.head.weight)}
    decayed: list[Any] = []
    kept: list[Any] = []
    for parameter in model.parameters():
        decays = parameter.ndim >= 2 and (config.decay_embeddings or id(parameter) not in tables)
        (decayed if decays else kept).append(parameter)
    return [{"params": decayed, "weight_decay": config.weight_decay}, {"params": kept, "weight_decay": 0.0}]
