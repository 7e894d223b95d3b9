"""What is told of a step: its figures, and why it changed nothing if it was skipped? Pure."""

import time
from dataclasses import dataclass

from models.measures import metrics
from ray_jobs.training.actors.feed import Batch
from ray_jobs.training.events import StepDone, StepSkipped
from ray_jobs.training.freshness import by_source, spread_of
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
        now_s = time.time()
        event = StepDone(
            step=here.step,
            round=here.round,
            tokens=here.tokens,
            predictions=batch.predictions,
            positions=batch.positions,
            loss=result.loss,
            ahead_losses=done.ahead,
            grad_norm=result.grad_norm,
            learning_rate=done.lr,
            seconds=seconds,
            data_wait_s=wait_s,
            tokens_per_second=rate,
            mfu=metrics.mfu(rate, self.flops_per_token, self.world, self.peak_flops),
            freshness_s=spread_of(now_s - batch.arrived_s, MOST_FRESHNESS),
            to_lake_s=by_source(batch.sources, batch.arrived_s - batch.event_s),
            to_gradient_s=by_source(batch.sources, now_s - batch.event_s),
            skipped_steps=len(here.skipped),
        )
        if not result.skipped:
            return (event,)
        return StepSkipped(step=here.step, round=here.round, text=why_skipped(result, done.limit)), event
