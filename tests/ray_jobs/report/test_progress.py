"""Is a person told how far a run is, and what about its rounds they would not expect?"""

import io

from data_ops.ingest.events import WindowDone
from ray_jobs.report.progress import Asked, Progress, warming
from ray_jobs.report.terminal import Display
from ray_jobs.training.events import BranchBegun, RoundBegun, StepDone


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_rounds_to_come_follow_from_the_documents_that_wait() -> None:
    progress = Progress(Asked(), {0: 500, 1: 400}, 0)
    progress.window(WindowDone(window=2, kept=150))
    begun = RoundBegun(round=3, steps=10, fresh_documents=100, last_window=0)
    progress.round(begun)
    assert progress.number(begun) == "3, ~6 to come"
    last = RoundBegun(round=9, steps=10, fresh_documents=100, last_window=2)
    progress.round(last)
    assert progress.number(last) == "9"


def test_the_time_left_counts_the_rounds_to_come_and_not_the_first_steps() -> None:
    clock = Clock()
    progress = Progress(Asked(), {0: 200, 1: 200}, 100, clock)
    progress.round(RoundBegun(round=0, steps=10, fresh_documents=200, last_window=0))
    assert progress.left_s() is None
    for step, now in ((101, 50.0), (102, 60.0), (103, 62.0), (104, 64.0)):
        clock.now = now
        progress.done(StepDone(step=step))
    assert progress.left_s() == 2.0 * (6 + 10), "two seconds a step, six of this round and ten of the next"


def test_documents_that_are_shed_are_told_each_time_and_much_replay_once() -> None:
    progress = Progress(Asked(replay_share=0.25, max_backlog_tokens=150_000), {}, 0)
    begun = RoundBegun(round=0, steps=4, fresh_documents=2, fresh_tokens=100, replay_tokens=900, shed_documents=6799)
    first, second = progress.round(begun), progress.round(begun)
    assert first[0].startswith("6,799 documents shed: more fresh text waits than round.max_backlog_tokens=150000")
    assert first[1].startswith("replay is 90 % of this round, round.replay_share asks for 25 %")
    assert second == first[:1]
    usual = RoundBegun(round=1, steps=4, fresh_tokens=700, replay_tokens=300)
    assert Progress(Asked(replay_share=0.25), {}, 0).round(usual) == []


def test_a_run_that_ends_while_its_learning_rate_still_rises_is_told_the_mend() -> None:
    asked = Asked(warmup_tokens=1_000_000, peak_lr=3e-4)
    said = warming(asked, 115_000)
    assert said is not None and "3.4e-5 of optim.lr=3.0e-4 after 115k tokens" in said
    assert "set optim.schedule.warmup_tokens below 57.5k (it is 1 M)" in said
    assert warming(asked, 1_000_000) is None and warming(asked, 0) is None


def test_a_decay_branch_counts_its_own_steps_under_its_own_name() -> None:
    stream = io.StringIO()
    display = Display(stream=stream, every_s=0)
    display.round(RoundBegun(round=0, steps=43))
    display.train(StepDone(step=43))
    display.branch(BranchBegun(step=43, steps=4))
    display.train(StepDone(step=47, branch=True))
    lines = stream.getvalue().splitlines()
    assert any(line.startswith(" train") and "43/43" in line for line in lines)
    assert lines[-1].startswith(" decay") and " 4/4" in lines[-1]


def test_what_is_started_is_said_at_once() -> None:
    stream = io.StringIO()
    display = Display(stream=stream)
    display.starting(None)
    display.starting("ray://head:10001")
    first, second = stream.getvalue().splitlines()
    assert first == " starting Ray on this machine, loading torch …"
    assert second == " connecting to Ray at ray://head:10001, loading torch …"
