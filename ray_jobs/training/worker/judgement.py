"""When does a run leave candidates to the gate, and how are they made?

A judgement is a checkpoint of the main line that says so (`TrainingState.judged`), and candidates that leave it: a copy
whose learning rate decays on replay, and the average of the last weights. Then the main line goes on from its own
checkpoint, as after a kill, so that its bits are those of a run that was never judged. A start that stands at such a
checkpoint makes the candidates that are missing first; where the same step was committed just before, it is due again
and decided alike. The end of a run is its last judgement. Nobody waits here for the gate: the driver asks it beside
training.
"""

import math
import time
from functools import partial

from msgspec.structs import replace

from data_ops.ingest.events import Warned
from models.engine.average import WeightAverage
from models.engine.optim import branch_lr
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.position import Judgement, Position
from ray_jobs.config.blocks import Interval
from ray_jobs.config.schema import Config
from ray_jobs.store.paths import branch_name
from ray_jobs.training.actors.feed import BRANCH, Feed
from ray_jobs.training.actors.notice import RoundNotice
from ray_jobs.training.directive import Directive
from ray_jobs.training.events import BranchBegun, CandidateMade
from ray_jobs.training.worker.collectives import broadcast_int, broadcast_object
from ray_jobs.training.worker.rank import Line, Rank
from ray_jobs.training.worker.saver import NotWrittenError, Saver
from ray_jobs.training.worker.skips import LastingSkipsError, Skips
from ray_jobs.training.worker.step import Course


def is_due(interval: Interval | None, last: Judgement, here: Position, now_s: float) -> bool:
    """Is it time for a judgement, between two rounds? Never before something was trained since the last one.

    >>> every = Interval(2, "rounds")
    >>> [is_due(every, Judgement(4, 3, 100), Position(n, 0, 9, 200), 0.0) for n in (4, 5)]
    [False, True]
    """
    if interval is None or here.tokens <= last.tokens:
        return False
    passed = {"rounds": here.round - last.round, "tokens": here.tokens - last.tokens, "seconds": now_s - last.time_s}
    return passed[interval.unit] >= interval.amount


def decided(config: Config, last: Judgement, here: Position, now_s: float) -> Judgement:
    """Decide which candidates leave the main line here.

    A copy decays over a share of all tokens that were trained, or, where a run is judged as it goes, of those since the
    last judgement, and at least for a step: so judging costs the same share however long a run becomes.
    """
    share, step = config.optim.schedule.decay, config.engine.batch_tokens
    going, tokens = config.judge.interval is not None, 0
    if config.optim.schedule.kind == "infinite" and config.judge.candidate != "average" and share:
        tokens = int(share * (here.tokens - last.tokens * going))
        tokens = max(tokens, step) if going else tokens * (tokens >= step)
    return Judgement(here.step, here.round, here.tokens, now_s, tokens, config.judge.averages)


class Judge:
    """The judgements of one rank's run."""

    def __init__(self, rank: Rank) -> None:
        self.rank, self.config = rank, rank.config

    @property
    def is_due(self) -> bool:
        """Is it time, by this rank's clock? Rank 0 decides for all."""
        rank = self.rank
        if rank.line.skips.in_a_row:  # the main line could not be committed where it stands
            return False
        return is_due(self.config.judge.interval, rank.judged, rank.position, time.time())

    @property
    def was_cut_short(self) -> bool:
        """Does the run stand where a judgement began? Its candidates are made as far as they are missing."""
        return self.rank.judged.step == self.rank.position.step and self.rank.position.step > 0

    def decide(self) -> None:
        """Let the next checkpoint say that the run is judged where it stands."""
        rank = self.rank
        if rank.judged.step != rank.position.step:
            rank.judged = decided(self.config, rank.judged, rank.position, broadcast_int(int(time.time())))

    def judge(self, last_window: int = -1, *, goes_on: bool) -> Directive:
        """Commit the main line where it stands, and let candidates leave it; says whether to go on.

        last_window: of the text that candidates are scored on, if it is behind what the run was given. goes_on: stand
        on the main line again, from its checkpoint where a copy was trained.
        """
        rank, line, last, main = self.rank, self.rank.line, self.rank.judged, self.rank.position
        self.decide()
        try:
            line.saver.finish(main)
        except NotWrittenError as error:
            if not goes_on:
                raise
            rank.judged = replace(rank.judged, step=last.step)  # the next one is counted from here all the same
            rank.tell(Warned(text=f"nothing is judged at step {main.step}: {error}"))
            return Directive.GO
        try:
            directive = self._make_candidates(main, last_window)
        except (LastingSkipsError, NotWrittenError) as error:
            if not goes_on:
                raise
            rank.tell(Warned(text=f"there is no candidate at step {main.step}: {error}"))
            directive = Directive.GO
        if directive == Directive.GO and goes_on and rank.line is not line:
            judged = rank.judged
            rank.begin()
            if rank.position.step == 0 and rank.job.base is None:
                raise OSError(f"the checkpoint of step {main.step} is damaged and none before it is left; begin anew")
            rank.line.saver.buffers = line.saver.buffers  # host memory, pinned beside a GPU: dear to make anew
            if rank.position.step == main.step:  # which may have been committed before it was time to judge
                rank.judged = judged
        else:
            rank.position, rank.line = main, line
        return directive

    def _make_candidates(self, main: Position, last_window: int) -> Directive:
        """Make what is missing of a judgement; a decay that was ended before its last step is begun anew some day."""
        rank, run = self.rank, branch_name(self.config.name, main.step)
        if not rank.judged.averages and not rank.judged.decay_tokens:
            return Directive.GO
        notice: RoundNotice | None = None
        made: list[int] | None = None
        if rank.rank == 0:
            notice = rank.job.feed.call(Feed.branch, main.step, main.round, rank.judged.decay_tokens).get()
            made = commits.commits(rank.store, run)
        notice, made = broadcast_object(notice, RoundNotice), broadcast_object(made, list[int])
        window = max(last_window, notice.last_window)
        averages = rank.average is not None and rank.judged.averages and main.step not in made
        decays = notice.steps > 0 and main.step + notice.steps not in made
        if averages and rank.average is not None:
            self._commit_average(rank.average, run, main, window)
        if decays and (directive := self._decay(notice, run, main, window)) != Directive.GO:
            return directive
        if averages or decays:
            rank.tell(CandidateMade(step=main.step))
        return Directive.GO

    def _commit_average(self, average: WeightAverage, run: str, main: Position, window: int) -> None:
        """Commit the average of the last weights as a candidate; the weights are what they were afterwards."""
        rank, line = self.rank, self.rank.line
        rank.position = replace(main, round=0, step_in_round=0, skipped=())
        rank.line = Line(self._new_saver(run, -1), line.course, line.skips, is_branch=True)
        with average.in_place():
            rank.evaluate(window)
            rank.line.saver.finish(rank.position)
        rank.position, rank.line = main, line

    def _decay(self, notice: RoundNotice, run: str, main: Position, window: int) -> Directive:
        """Anneal a copy of the weights on replay; says whether it was left to the end."""
        rank, config, batch_tokens = self.rank, self.config, self.config.engine.batch_tokens
        lr_of = partial(
            branch_lr, branched_at=main.tokens, branch_tokens=notice.steps * batch_tokens, config=config.optim
        )
        rank.position = replace(main, round=0, step_in_round=0, skipped=())
        course, skips = Course(config.optim, batch_tokens, lr_of), Skips(config.optim.max_skipped_in_a_row)
        rank.line = Line(self._new_saver(run, main.step), course, skips, is_branch=True)
        rank.tell(BranchBegun(step=main.step, **notice._asdict()))
        directive = rank.train_round(BRANCH, notice.steps)
        if directive == Directive.GO:
            rank.evaluate(window)
            rank.line.saver.finish(rank.position)
        return directive

    def _new_saver(self, run: str, saved_step: int) -> Saver:
        """Make what commits a candidate, once; it may use the main line's buffers, whose writer is done."""
        saver = self.rank.new_saver(run, math.inf, saved_step)
        saver.buffers = self.rank.line.saver.buffers
        return saver
