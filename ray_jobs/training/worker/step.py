"""What is one optimizer step, and what does it change in the position?

The one place where a run, its decay branch and a trial of a sweep step: rate, spike limit, engine, position.
"""

from typing import NamedTuple

from models.config import OptimConfig
from models.engine.engine import Engine, StepResult
from models.engine.optim import SPIKE_STEPS, spike_limit
from models.rows import Rows
from ray_jobs.checkpoints.position import Position


class Stepped(NamedTuple):
    """What a step did, and the loss above which it would have been skipped."""

    result: StepResult
    limit: float


def take_step(
    engine: Engine, here: Position, rows: Rows, predictions: int, batch_tokens: int, lr: float, optim: OptimConfig
) -> Stepped:
    """Train on this rank's part of a global batch and move `here` behind it; `predictions` are those of all ranks."""
    limit = spike_limit(here.losses, optim.spike_sigmas)
    result = engine.step(rows, predictions, lr, limit)
    if result.skipped:
        here.skipped.append((here.round, here.step_in_round))
    elif optim.spike_sigmas is not None:
        here.losses = [*here.losses, result.loss][-SPIKE_STEPS:]
    here.step_in_round, here.step, here.tokens = here.step_in_round + 1, here.step + 1, here.tokens + batch_tokens
    return Stepped(result, limit)
