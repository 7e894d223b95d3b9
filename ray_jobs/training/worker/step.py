"""What is one optimizer step, and what does it change in the position?

The one place where a run, its decay branch and a trial of a sweep step: rate, spike limit, engine, position.
"""

from typing import NamedTuple

from cluster.rows import Rows
from models.config import OptimConfig
from models.engine.engine import Engine, StepResult
from models.engine.optim import SPIKE_STEPS, spike_limit
from ray_jobs.checkpoints.position import Position


class Stepped(NamedTuple):
    """What a step did, the position behind it, and the loss above which it would have been skipped."""

    result: StepResult
    position: Position
    limit: float


def take_step(
    engine: Engine, here: Position, rows: Rows, predictions: int, batch_tokens: int, lr: float, optim: OptimConfig
) -> Stepped:
    """Train on this rank's part of a global batch from `here` on; `predictions` are those of all ranks."""
    limit = spike_limit(here.losses, optim.spike_sigmas)
    result = engine.step(rows, predictions, lr, limit)
    skipped, losses = here.skipped, here.losses
    if result.skipped:
        skipped = (*skipped, (here.round, here.step_in_round))
    elif optim.spike_sigmas is not None:
        losses = (*losses, result.loss)[-SPIKE_STEPS:]
    behind = Position(
        round=here.round,
        step_in_round=here.step_in_round + 1,
        step=here.step + 1,
        tokens=here.tokens + batch_tokens,
        skipped=skipped,
        losses=losses,
    )
    return Stepped(result, behind, limit)
