"""Does a step move the position, and does one that changed nothing say so?"""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cluster.rows import Rows
from models.config import OptimConfig
from models.engine.engine import StepResult
from models.engine.optim import SPIKE_STEPS
from ray_jobs.checkpoints.position import Position
from ray_jobs.training.actors.feed import Batch
from ray_jobs.training.events import StepDone, StepSkipped
from ray_jobs.training.freshness import MOST
from ray_jobs.training.worker.step import Course, train_rows
from ray_jobs.training.worker.step_events import MOST_FRESHNESS, StepMeter

HERE = Position(round=2, step_in_round=5, step=40, tokens=4000, skipped=((1, 1),), losses=(2.0,))
ROWS = Rows(*(np.zeros((1, 4), np.int32),) * 3)


def course(**settings: Any) -> Course:
    return Course(OptimConfig(**settings), 100, lambda tokens: tokens / 1e6)


def engine(loss: float = 2.5, skipped: bool = False) -> Any:
    asked: list[tuple[Any, ...]] = []

    def step(*given: Any) -> StepResult:
        asked.append(given)
        return StepResult(loss, 1.0, skipped)

    return SimpleNamespace(step=step, asked=asked, vocab_size=100, ahead=(5.0, 6.0))


def test_a_step_moves_the_position_and_trains_at_the_rate_of_its_end() -> None:
    mine = engine()
    done = train_rows(mine, course(spike_sigmas=6.0), HERE, ROWS, 300)
    assert done.position == Position(2, 6, 41, 4100, ((1, 1),), (2.0, 2.5))
    assert (done.lr, mine.asked[0][1:3]) == (0.0041, (300, 0.0041))
    assert HERE.step == 40, "the position before is as it was"


def test_a_step_that_changed_nothing_is_noted_by_its_place_and_its_loss_counts_for_no_limit() -> None:
    done = train_rows(engine(skipped=True), course(spike_sigmas=6.0), HERE, ROWS, 300)
    assert done.position.skipped == ((1, 1), (2, 5))
    assert done.position.losses == (2.0,) and done.position.step == 41


def test_a_loss_far_beyond_that_of_guessing_trains_nothing() -> None:
    mine = engine()
    assert train_rows(mine, course(), HERE, ROWS, 300).limit == pytest.approx(4 * math.log(100))
    assert mine.asked[0][3] == pytest.approx(4 * math.log(100)), "the engine is asked to skip it"


def test_losses_are_kept_for_a_limit_alone_and_no_more_than_it_needs() -> None:
    assert train_rows(engine(), course(spike_sigmas=None), HERE, ROWS, 300).position.losses == (2.0,)
    long = Position(losses=tuple(float(n) for n in range(SPIKE_STEPS)))
    assert train_rows(engine(99.0), course(spike_sigmas=1e9), long, ROWS, 3).position.losses[-1:] == (99.0,)
    assert len(train_rows(engine(99.0), course(spike_sigmas=1e9), long, ROWS, 3).position.losses) == SPIKE_STEPS


SOURCES = np.array(["wire"] * 499 + ["help"])


@pytest.mark.parametrize(
    ("loss", "why"), [(9.0, "its loss of 9.000 is above 3.000"), (float("nan"), "its loss or gradient is not finite")]
)
def test_a_skipped_step_is_told_with_its_reason_before_its_figures(loss: float, why: str) -> None:
    done = train_rows(engine(loss, skipped=True), course(), HERE, ROWS, 300)._replace(limit=3.0)
    meter, batch = StepMeter(100, 2, 1.0, None), Batch(ROWS, 300, 340, np.full(500, 5.0), np.zeros(500), SOURCES)
    skip, step = meter.events(batch, done, 0.5, 0.1)
    assert isinstance(skip, StepSkipped) and (skip.step, skip.text) == (41, why)
    assert isinstance(step, StepDone) and (step.step, step.tokens_per_second, step.skipped_steps) == (41, 200.0, 2)
    assert len(step.freshness_s) == MOST_FRESHNESS and step.mfu is None and step.ahead_losses == (5.0, 6.0)
    assert step.to_lake_s == {"help": (5.0,), "wire": (5.0,) * MOST}
    assert step.to_gradient_s["help"][0] == pytest.approx(5.0 + step.freshness_s[0], abs=0.01)
