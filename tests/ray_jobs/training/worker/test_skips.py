"""Does a run in which nothing trains stop before it has used up its documents?"""

import math
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from models.engine.engine import StepResult
from ray_jobs.checkpoints.position import Position
from ray_jobs.training.directive import Directive
from ray_jobs.training.events import Fault
from ray_jobs.training.group.failure_policy import GroupHealth
from ray_jobs.training.worker.loop import Worker
from ray_jobs.training.worker.skips import LastingSkipsError, Skips

GOOD, BAD = StepResult(2.0, 1.0, False), StepResult(math.nan, math.nan, True)


@dataclass
class Run:
    """Steps one after another, as the loop takes them."""

    skips: Skips = field(default_factory=lambda: Skips(5))
    here: Position = field(default_factory=Position)

    def step(self, result: StepResult, limit: float = math.inf) -> None:
        before, skipped = self.here, self.here.skipped
        if result.skipped:
            skipped = (*skipped, (before.round, before.step_in_round))
        self.here = replace(before, step=before.step + 1, step_in_round=before.step_in_round + 1, skipped=skipped)
        self.skips.update(before, result, limit)


def test_single_bad_steps_are_skipped_and_committed() -> None:
    run = Run()
    for _ in range(10):
        for result in (BAD, BAD, BAD, BAD, GOOD):
            run.step(result)
        assert run.skips.committable(run.here) is run.here
    assert run.skips.ended(run.here, all_read=True) is run.here
    assert run.here.step == 50 and len(run.here.skipped) == 40


def test_a_row_ends_the_run_where_it_stood_before_it() -> None:
    run = Run()
    for result in (GOOD, BAD, GOOD, BAD, BAD, BAD, BAD):
        run.step(result)
    assert run.skips.committable(run.here).step == 3, "nothing within a row is committed"
    with pytest.raises(LastingSkipsError) as caught:
        run.step(BAD)
    assert str(caught.value) == (
        "5 steps in a row were skipped (the last: its loss or gradient is not finite), so the run stops behind step 3 "
        "and their documents stay pending; lower optim.lr, set optim.clip_norm=1, or raise optim.max_skipped_in_a_row"
    )
    kept = run.skips.committable(run.here)
    assert (kept.step, kept.skipped) == (3, ((0, 1),)), "the single one before the row stays skipped"


def test_spikes_count_and_are_named() -> None:
    run = Run(Skips(1))
    with pytest.raises(LastingSkipsError, match=r"the last: its loss of 9.000 is above 3.500"):
        run.step(StepResult(9.0, 1.0, True), 3.5)


def test_a_short_corpus_of_which_nothing_was_trained_is_not_used_up_either() -> None:
    run = Run()
    run.step(BAD)
    run.step(BAD)
    with pytest.raises(LastingSkipsError, match="they were all there are"):
        run.skips.ended(run.here, all_read=True)
    trained = Run()
    for result in (GOOD, BAD, BAD):
        trained.step(result)
    assert trained.skips.ended(trained.here, all_read=True).step == 3
    assert trained.skips.ended(trained.here, all_read=False).step == 1, "it was stopped: they are tried again"


def test_it_is_told_once_and_no_group_is_started_again() -> None:
    text = "5 steps in a row were skipped"
    assert GroupHealth().update(Fault(rank=1, text=text, is_final=True)) == text
    assert GroupHealth().update(Fault(rank=1, text=text)) is None


def test_the_loop_commits_the_place_before_the_row_and_fails() -> None:
    finished: list[Position] = []
    line = SimpleNamespace(skips=Skips(2), is_branch=False, saver=SimpleNamespace(finish=finished.append))
    worker: Any = Worker.__new__(Worker)
    worker.rank = SimpleNamespace(rank=1, position=Position(step=9, skipped=((0, 7), (0, 8))), line=line)

    def rounds() -> None:
        line.skips.update(Position(step=7), BAD, math.inf)
        line.skips.update(Position(step=8), BAD, math.inf)

    worker._train_rounds = rounds
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ray_jobs.training.worker.loop.broadcast_int", lambda value: Directive.GO)
        with pytest.raises(LastingSkipsError):
            worker.train()
    assert finished == [Position(step=7)]
