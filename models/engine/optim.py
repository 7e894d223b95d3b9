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
from typing import Any

from torch import nn

from models.config import OptimConfig
from models.engine.zero import whole_shape
from models.kinds.loss import Head
from models.optimizer import Optimizer

SPIKE_STEPS = 128  # losses a spike is judged by
DIVERGED = 4.0  # times the loss of a model that knows nothing: the weights are lost, and a step would not mend them


def skip_limit(losses: Sequence[float], sigmas: float | None, vocab_size: int) -> float:
    """Return the loss (nats a token) above which a step is skipped: a spike, or a model that has diverged.

    >>> round(skip_limit([], None, vocab_size=50_257), 1)
    43.3
    """
    return min(spike_limit(losses, sigmas), DIVERGED * math.log(vocab_size))


def spike_limit(losses: Sequence[float], sigmas: float | None) -> float:
    """Return the loss above which a step is a spike, given the losses of the last steps that were not.

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


def parameter_groups(model: nn.Module, config: OptimConfig) -> list[dict[str, Any]]:
    """Split what trains into decayed (matrices) and not (norms; embedding tables unless asked).

    With Muon, matrices that are no tables are a group of their own.
    """
    tables = {id(part.weight) for part in model.modules() if isinstance(part, nn.Embedding | Head)}
    decayed, kept, orthogonal = list[Any](), list[Any](), list[Any]()
    outputs = _output_tables(model) | tables
    for parameter in (each for each in model.parameters() if each.requires_grad):
        dimensions = len(whole_shape(parameter))
        if config.kind == Optimizer.MUON and dimensions == 2 and id(parameter) not in outputs:
            orthogonal.append(parameter)
        elif dimensions >= 2 and (config.decay_embeddings or id(parameter) not in tables):
            decayed.append(parameter)
        else:
            kept.append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": kept, "weight_decay": 0.0},
        {"params": orthogonal, "weight_decay": config.weight_decay},
    ]
    if config.kind == Optimizer.MUON:
        groups = [group | {"orthogonal": group["params"] is orthogonal} for group in groups]
    return [group for group in groups if group["params"]]


def _output_tables(model: nn.Module) -> set[int]:
    """The output tables of transformers' modules, which are no class of their own."""
    parts: list[Any] = [part for part in model.modules() if hasattr(part, "get_output_embeddings")]
    return {id(output.weight) for part in parts if (output := part.get_output_embeddings()) is not None}
