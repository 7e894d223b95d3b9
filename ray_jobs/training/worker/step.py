"""How are rows trained, and where does the position stand behind them?

The one place where a run, its decay branch and a trial of a sweep step: rate, spike limit, engine, position.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from cluster.rows import Rows
from models.config import OptimConfig
from models.engine.engine import Engine, StepResult
from models.engine.optim import SPIKE_STEPS, skip_limit
from ray_jobs.checkpoints.position import Position


@dataclass(frozen=True)
class Course:
    """How a line of training steps: tokens of a global batch, and the learning rate of a step that ends at tokens."""

    optim: OptimConfig
    batch_tokens: int
    lr_of: Callable[[int], float]


class Stepped(NamedTuple):
    """What a step did, the position behind it, its rate, and the loss above which it would have been skipped.

    ahead: the mean nats of each token behind the next one, where the model predicts further ones.
    """

    result: StepResult
    position: Position
    lr: float
    limit: float
    ahead: tuple[float, ...] = ()


def train_rows(engine: Engine, course: Course, here: Position, rows: Rows, predictions: int) -> Stepped:
    """Train on this rank's rows of a global batch, from `here` on; `predictions` are those of all ranks."""
    tokens = here.tokens + course.batch_tokens
    lr, limit = course.lr_of(tokens), skip_limit(here.losses, course.optim.spike_sigmas, engine.vocab_size)
    result = engine.step(rows, predictions, lr, limit)
    skipped, losses = here.skipped, here.losses
    if result.skipped:
        skipped = (*skipped, (here.round, here.step_in_round))
    elif course.optim.spike_sigmas is not None:
        losses = (*losses, result.loss)[-SPIKE_STEPS:]
    behind = Position(here.round, here.step_in_round + 1, here.step + 1, tokens, skipped, losses)
    return Stepped(result, behind, lr, limit, engine.ahead)
