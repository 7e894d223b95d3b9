"""When is a step that changed nothing no accident any more, and where does the run then stand?

One bad batch is skipped and recorded. Many in a row mean that no batch would train: going on would use up every
document that is left. The run then ends where it stood before the first of them. That is the same state, because a
skipped step changes neither weights nor optimizer; so its documents stay pending. While such a row lasts nothing later
is committed.
"""

from models.engine.engine import StepResult
from ray_jobs.checkpoints.position import Position


class LastingSkipsError(RuntimeError):
    """Step after step trains nothing; starting again would not change that."""


class Skips:
    """The skipped steps in a row that a training has behind it; `most` of them end it."""

    def __init__(self, most: int) -> None:
        self.most, self.in_a_row, self.before = most, 0, Position()

    def update(self, before: Position, result: StepResult, limit: float) -> None:
        """Take in a step that began at `before`; LastingSkipsError where it was one too many."""
        if not result.skipped:
            self.in_a_row = 0
            return
        self.before = self.before if self.in_a_row else before
        self.in_a_row += 1
        if self.in_a_row >= self.most:
            self._give_up(f"the last: {why_skipped(result, limit)}")

    def ended(self, here: Position, *, all_read: bool) -> Position:
        """Return what to commit at the end: behind the last document `here`; LastingSkipsError if none was trained."""
        if not all_read:
            return self.committable(here)
        if self.in_a_row and here.step == len(here.skipped):
            self._give_up("they were all there are")
        return here

    def committable(self, here: Position) -> Position:
        """Return what may be committed: `here`, or during a row of skips the place before it."""
        return self.before if self.in_a_row else here

    def _give_up(self, why: str) -> None:
        raise LastingSkipsError(
            f"{self.in_a_row} steps in a row were skipped ({why}), so the run stops behind step {self.before.step} and "
            "their documents stay pending; lower optim.lr, set optim.clip_norm=1, or raise optim.max_skipped_in_a_row"
        )


def why_skipped(result: StepResult, limit: float) -> str:
    """Say what was wrong with a step that was skipped."""
    spike = f"its loss of {result.loss:.3f} is above {limit:.3f}"
    return spike if result.loss > limit else "its loss or gradient is not finite"
