"""What does one training worker do, from start to the last commit?

Stand on the newest committed checkpoint, then for every round of the feed: fetch, step, report; commit every so often;
score held-out text between rounds, and leave candidates to the gate where one is due. Rank 0 asks (is there a round? is
it time to commit, to judge? shall we stop?) and all ranks get the same answer, so they never disagree on what comes
next; the price is one small broadcast a step.
"""

import time
from typing import NamedTuple

import ray.train
from msgspec.structs import replace

from ray_jobs.training.actors.coordinator import Coordinator
from ray_jobs.training.actors.feed import Feed
from ray_jobs.training.actors.notice import RoundNotice
from ray_jobs.training.directive import Directive
from ray_jobs.training.events import Fault, RoundBegun
from ray_jobs.training.worker.collectives import broadcast_int, broadcast_object
from ray_jobs.training.worker.judgement import Judge
from ray_jobs.training.worker.rank import ENDINGS, Rank, WorkerJob
from ray_jobs.training.worker.skips import LastingSkipsError

POLL_SECONDS = 0.05  # between two questions for a round that is not planned yet


class Turn(NamedTuple):
    """What all ranks do next: a round, or a judgement, unless the directive says otherwise; None: nothing yet."""

    notice: RoundNotice | None
    directive: Directive
    judges: bool = False


class MovedError(RuntimeError):
    """The group left its nodes after a checkpoint; Ray Train starts it again on those that stay."""


def train_loop(jobs: dict[str, WorkerJob]) -> None:
    """Run as one rank of a Ray Train worker group; Ray Train hands on a dictionary, which holds the `job`."""
    job, context = jobs["job"], ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    try:
        Worker(Rank(job, rank, world)).train()
    except MovedError:
        raise
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        final = isinstance(error, LastingSkipsError)
        fault = Fault(rank=rank, text=said if final else f"{type(error).__name__}: {said}", is_final=final)
        job.coordinator.call(Coordinator.post, [fault]).get()
        raise


class Worker:
    """The order in which one rank does what it can."""

    def __init__(self, rank: Rank) -> None:
        self.rank, self.judge = rank, Judge(rank)

    def train(self) -> None:
        """Train round after round until the feed has no more or the driver says stop."""
        rank = self.rank
        asked = rank.job.coordinator.call(Coordinator.beat, []).get() if rank.rank == 0 else Directive.GO
        if broadcast_int(asked) == Directive.STOP:
            return
        try:
            ending = self._train_rounds()
        except LastingSkipsError:
            if not rank.line.is_branch:
                rank.line.saver.finish(rank.line.skips.committable(rank.position))
            raise
        if rank.reporter:
            rank.reporter.flush()
        if ending == ENDINGS[Directive.MOVE]:
            raise MovedError("the nodes of these workers are about to change")
        if rank.reporter:
            rank.job.coordinator.call(Coordinator.leave).get()

    def _train_rounds(self) -> str:
        """Train until there is no round left, then judge; says why it ended, as RoundNotice.closed does."""
        rank, directive = self.rank, Directive.GO
        if self.judge.was_cut_short:
            directive = self.judge.judge(goes_on=True)
        notice = RoundNotice(-1)
        while directive == Directive.GO and (notice := self._next_round()).steps >= 0:
            directive = rank.train_round(rank.position.round, notice.steps)
            if directive == Directive.GO:
                rank.position = replace(rank.position, round=rank.position.round + 1, step_in_round=0)
                if rank.position.round % rank.config.evaluate.every_rounds == 0:
                    rank.evaluate(notice.last_window)
        ending = ENDINGS.get(directive, notice.closed)
        rank.position = rank.line.skips.ended(rank.position, all_read=ending == "end")
        if ending != "end":
            rank.line.saver.finish(rank.position)
            return ending
        self.judge.decide()
        rank.line.saver.save(rank.position)
        if notice.last_window != rank.evaluator.judged_window:
            rank.evaluate(notice.last_window)
        return ENDINGS.get(self.judge.judge(notice.last_window, goes_on=False), ending)

    def _next_round(self) -> RoundNotice:
        """Ask the feed, as rank 0, until the round is planned or there is none; tell all ranks. Judge where it is due.

        A judgement comes before the next round, and also while there is none.
        """
        rank = self.rank
        while True:
            turn = broadcast_object(self._look() if rank.rank == 0 else None, Turn)
            directive = turn.directive
            if turn.judges and directive not in ENDINGS:
                directive = self.judge.judge(goes_on=True)
            if directive in ENDINGS:
                return RoundNotice(-1, closed=ENDINGS[directive])
            if directive == Directive.CHECKPOINT:
                rank.line.saver.save(rank.line.skips.committable(rank.position))
            if turn.notice is not None:
                break
            if not turn.judges:
                time.sleep(POLL_SECONDS)
        if turn.notice.steps >= 0:
            rank.tell(RoundBegun(round=rank.position.round, **turn.notice._asdict()))
        return turn.notice

    def _look(self) -> Turn:
        """What comes next, as rank 0 knows it."""
        directive = self.rank.directive()
        if directive in ENDINGS:
            return Turn(None, directive)
        if self.judge.is_due:
            return Turn(None, directive, judges=True)
        return Turn(self.rank.job.feed.call(Feed.round, self.rank.position.round).get(), directive)
