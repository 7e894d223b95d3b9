"""What is told of a step: its figures, and why it changed nothing if it was skipped? Pure."""

import time
from dataclasses import dataclass

import numpy as np

from models.measures import metrics
from ray_jobs.training.actors.feed import Batch
from ray_jobs.training.events import StepDone, StepSkipped
from ray_jobs.training.worker.skips import why_skipped
from ray_jobs.training.worker.step import Stepped

MOST_FRESHNESS = 64  # values a step: quantiles of them where there are more


@dataclass(frozen=True)
class StepMeter:
    """What turns the time of a step into rates."""

    batch_tokens: int
    world: int
    flops_per_token: float
    peak_flops: float | None  # of a device; None where it is not known

    def events(self, batch: Batch, done: Stepped, seconds: float, wait_s: float) -> tuple[StepDone | StepSkipped, ...]:
        """Tell of a step that took `seconds`, of which `wait_s` were spent waiting for its rows."""
        here, result = done.position, done.result
        rate = self.batch_tokens / seconds
        fresh = np.sort(time.time() - batch.arrived_s)
        shown = fresh if len(fresh) <= MOST_FRESHNESS else np.quantile(fresh, np.linspace(0, 1, MOST_FRESHNESS))
        event = StepDone(
            step=here.step,
            round=here.round,
            tokens=here.tokens,
            predictions=batch.predictions,
            loss=result.loss,
            grad_norm=result.grad_norm,
            learning_rate=done.lr,
            seconds=seconds,
            data_wait_s=wait_s,
            tokens_per_second=rate,
            mfu=metrics.mfu(rate, self.flops_per_token, self.world, self.peak_flops),
            freshness_s=tuple(round(float(s), 3) for s in shown),
            skipped_steps=len(here.skipped),
        )
        if not result.skipped:
            return (event,)
        return StepSkipped(step=here.step, round=here.round, text=why_skipped(result, done.limit)), event
