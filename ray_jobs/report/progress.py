"""How far is a run, and what about its rounds would surprise a person?

Rounds are planned one by one, so how many are to come is an estimate: the documents that wait, in rounds like the one
that has begun. Nothing here prints.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cluster.readable import many, rate, share, short, whole
from data_ops.ingest.events import WindowDone
from ray_jobs.training.events import BranchBegun, RoundBegun, StepDone

FAR_ABOVE = 0.1  # by how much the share of replay may be above the configured one before it is told
FIRST_STEPS = 2  # of a driver: the first compile, and say nothing of the time that the others take


@dataclass(frozen=True)
class Asked:
    """What the configuration asks of rounds and of the learning rate."""

    replay_share: float = 1.0
    max_backlog_tokens: int | None = None
    warmup_tokens: int = 0
    peak_lr: float = 0.0


class Progress:
    """Where a driver stands: windows taken in, rounds begun, steps done."""

    def __init__(
        self, asked: Asked, windows: Mapping[int, int], step: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """windows: documents kept by window so far; step: where the driver begins."""
        self.asked, self.windows, self.clock = asked, dict(windows), clock
        self.step = self.first = self.last = step  # of the stretch that is trained now: done, before, at the end
        self.decays = False
        self.rounds_left = 0
        self.round_steps = 0
        self.paced: tuple[int, float] | None = None  # a step, and when it was done
        self.num_done = 0
        self.told_of_replay = False
        self.dry: tuple[str, ...] = ()  # sources that had less than their share in the last round

    def window(self, done: WindowDone) -> None:
        """Note what a window added."""
        self.windows[done.window] = done.kept

    def round(self, begun: RoundBegun) -> list[str]:
        """Begin a round; returns what a person should be told of it, of much replay once."""
        if self.decays:  # the main line goes on where the branch left it
            self.step = self.first
        self._expect(self.step, begun.steps, decays=False)
        waiting = sum(kept for window, kept in self.windows.items() if window > begun.last_window)
        self.rounds_left = -(-waiting // begun.fresh_documents) if begun.fresh_documents else 0
        self.round_steps = begun.steps
        remarks = [self._shed(begun)] if begun.shed_documents else []
        if dry := [label for label in begun.dry if label not in self.dry]:
            remarks.append(f"{_listed(dry)} run dry: nothing more waits there, and the other sources take the share")
        self.dry = begun.dry
        remarks += begun.drifted
        if not self.told_of_replay and (remark := self._replay(begun)):
            remarks.append(remark)
            self.told_of_replay = True
        return remarks

    def branch(self, begun: BranchBegun) -> None:
        """Begin the decay branch, whose steps count from its own start."""
        self._expect(begun.step, begun.steps, decays=True)
        self.rounds_left = 0

    def done(self, step: StepDone) -> None:
        """Note a step."""
        self.step = step.step
        self.num_done += 1
        if self.num_done == FIRST_STEPS:
            self.paced = (step.step, self.clock())

    def number(self, begun: RoundBegun) -> str:
        """Say which round it is, and about how many are to come."""
        return whole(begun.round) + (f", ~{whole(self.rounds_left)} to come" if self.rounds_left else "")

    def left_s(self) -> float | None:
        """Estimate the seconds until all rounds are trained; None while there is nothing to go by."""
        if self.paced is None or self.last <= self.step:
            return None
        step, then = self.paced
        if self.step <= step:
            return None
        steps = self.last - self.step + self.rounds_left * self.round_steps
        return (self.clock() - then) / (self.step - step) * steps

    def _expect(self, first: int, steps: int, *, decays: bool) -> None:
        self.first, self.last, self.decays = first, first + steps, decays

    def _shed(self, begun: RoundBegun) -> str:
        if begun.mixture >= 0:
            return f"{many(begun.shed_documents, 'document')} shed: the mixture has removed their source"
        return (
            f"{many(begun.shed_documents, 'document')} shed: more fresh text waits than "
            f"round.max_backlog_tokens={self.asked.max_backlog_tokens} allows, so a sample of it is trained"
        )

    def _replay(self, begun: RoundBegun) -> str | None:
        part = begun.replay_tokens / max(begun.fresh_tokens + begun.replay_tokens, 1)
        if part <= self.asked.replay_share + FAR_ABOVE:
            return None
        return (
            f"replay is {share(part)} of this round, round.replay_share asks for {share(self.asked.replay_share)}: "
            "there is too little fresh text to fill its steps"
        )


def _listed(labels: Sequence[str]) -> str:
    return f"source {labels[0]} has" if len(labels) == 1 else f"sources {', '.join(labels)} have"


def warming(asked: Asked, trained_tokens: int) -> str | None:
    """Say so if a run has trained all its text and is still warming up."""
    if trained_tokens <= 0 or trained_tokens >= asked.warmup_tokens:
        return None
    reached = asked.peak_lr * trained_tokens / asked.warmup_tokens
    return (
        f"the learning rate is still warming up: {rate(reached)} of optim.lr={rate(asked.peak_lr)} after "
        f"{short(trained_tokens)} tokens; for so little text set optim.schedule.warmup_tokens below "
        f"{short(trained_tokens // 2)} (it is {short(asked.warmup_tokens)})"
    )
