"""What does one training worker do, from start to the last commit?

Restore the newest committed checkpoint, then for every round of the feed: fetch, step, report; commit every so often;
judge held-out text between rounds. Rank 0 asks (is there a round? is it time to commit? shall we stop?) and all ranks
get the same answer, so they never disagree on what comes next; the price is one small broadcast a step.
"""

import logging
import math
import os
import secrets
import time
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import ray
import ray.train
import torch
from msgspec.structs import replace

from cluster.runtime.actors import Handle, this_actor
from cluster.storage.store import Store
from data_ops.documents.tokenizer import Tokenizer
from models.engine import engine
from models.engine.optim import branch_lr, lr_at
from models.kinds.kinds import kind_of
from models.measures import metrics
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.position import Position, TrainingState
from ray_jobs.config.schema import Config
from ray_jobs.store.paths import branch_name
from ray_jobs.training.actors.coordinator import Coordinator
from ray_jobs.training.actors.feed import BRANCH, Feed, RoundNotice
from ray_jobs.training.directive import Directive
from ray_jobs.training.events import BranchBegun, Evaluated, Event, Fault, RoundBegun, Started, StepDone
from ray_jobs.training.worker.batches import Batches
from ray_jobs.training.worker.collectives import broadcast_int, broadcast_object, check_in_step
from ray_jobs.training.worker.evaluator import Evaluator
from ray_jobs.training.worker.reporter import Reporter
from ray_jobs.training.worker.restore import Beginning, restore
from ray_jobs.training.worker.saver import Author, Link, Saver
from ray_jobs.training.worker.skips import LastingSkipsError, Skips
from ray_jobs.training.worker.step import Course, train_rows
from ray_jobs.training.worker.step_events import StepMeter

logger = logging.getLogger(__name__)

ENDINGS = {Directive.MOVE: "moved", Directive.STOP: "stopped"}  # why the feed has no next round for this group
POLL_SECONDS = 0.05  # between two questions for a round that is not planned yet


class Turn(NamedTuple):
    """What all ranks do next: a round (None: not planned yet), unless the directive says otherwise."""

    notice: RoundNotice | None
    directive: Directive


class MovedError(RuntimeError):
    """The group left its nodes after a checkpoint; Ray Train starts it again on those that stay."""


@dataclass(frozen=True)
class WorkerJob:
    """What every rank gets from the driver: configuration and tokenizer as JSON, the two actors, where it begins."""

    config: str
    tokenizer: str
    feed: Handle[Feed]
    coordinator: Handle[Coordinator]
    base: str | None = None  # checkpoint of the weights that the run begins with; None: random ones


def train_loop(jobs: dict[str, WorkerJob]) -> None:
    """Run as one rank of a Ray Train worker group; Ray Train hands on a dictionary, which holds the `job`."""
    job, context = jobs["job"], ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    try:
        Worker(job, rank, world).train()
    except MovedError:
        raise
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        final = isinstance(error, LastingSkipsError)
        fault = Fault(rank=rank, text=said if final else f"{type(error).__name__}: {said}", is_final=final)
        job.coordinator.call(Coordinator.post, [fault]).get()
        raise


@dataclass(frozen=True)
class Line:
    """A line of training: where it commits, how it steps and what it skipped. The main line, or a decay branch."""

    saver: Saver
    course: Course
    skips: Skips
    is_branch: bool = False


class Worker:
    """One rank of one attempt."""

    def __init__(self, job: WorkerJob, rank: int, world: int) -> None:
        self.config = config = Config.model_validate_json(job.config)
        self.job, self.rank, self.world = job, rank, world
        self.store, tokenizer = Store.open(config.store), Tokenizer.from_json(job.tokenizer)
        self.tokenizer_fingerprint = tokenizer.fingerprint
        self.reporter = Reporter(job.coordinator) if rank == 0 else None
        self.batches = Batches(job.feed, rank, world)
        engine.join(config.engine.threads)
        self.attempt = f"{broadcast_int(secrets.randbits(32)):08x}"  # no two worker groups write to the same folder
        node = ray.get_runtime_context().get_node_id()
        job.coordinator.call(Coordinator.join, self.attempt, rank, this_actor(), node).get()
        tokens = config.model.tokens_of(tokenizer.vocab_size)
        seed = config.seed if job.base is None else None
        self.engine = engine.start(config.model, tokens, config.engine, config.optim, seed)
        self.evaluator = Evaluator(
            self.store, config.evaluate, config.model.row_tokens, tokenizer.document_token, self._alive
        )
        beginning = Beginning(self.store, config.name, job.base)
        self.position = restore(beginning, self.engine, job.coordinator, self._tell)
        course = Course(config.optim, config.engine.batch_tokens, partial(lr_at, config=config.optim))
        skips = Skips(config.optim.max_skipped_in_a_row)
        self.line = Line(self._new_saver(config.name, config.checkpoint.every_seconds), course, skips)
        text = f"{world} workers at step {self.position.step}"
        self._tell(Started(step=self.position.step, workers=world, pid=os.getpid(), text=text))
        flops = kind_of(config.model).flops_per_token(config.model, tokens)
        peak = metrics.peak_flops(torch.cuda.get_device_name()) if torch.cuda.is_available() else None
        self.meter = StepMeter(config.engine.batch_tokens, world, flops, peak)

    def train(self) -> None:
        """Train round after round until the feed has no more or the driver says stop."""
        asked = self.job.coordinator.call(Coordinator.beat, []).get() if self.rank == 0 else Directive.GO
        if broadcast_int(asked) == Directive.STOP:
            return
        try:
            self._train_rounds()
        except LastingSkipsError:
            if not self.line.is_branch:
                self.line.saver.finish(self.line.skips.committable(self.position))
            raise

    def _train_rounds(self) -> None:
        while (notice := self._next_round()).steps >= 0:
            directive = self._train_round(notice, self.position.round)
            if directive != Directive.GO:
                notice = RoundNotice(-1, closed=ENDINGS[directive])
                break
            self.position = replace(self.position, round=self.position.round + 1, step_in_round=0)
            if self.position.round % self.config.evaluate.every_rounds == 0:
                self._evaluate(notice.last_window)
        self.position = self.line.skips.ended(self.position, all_read=notice.closed == "end")
        self.line.saver.save(self.position)
        if notice.closed == "end" and notice.last_window != self.evaluator.judged_window:
            self._evaluate(notice.last_window)
        self.line.saver.finish(self.position)
        ending = notice.closed
        if ending == "end" and self.config.optim.schedule.kind == "infinite":
            ending = ENDINGS.get(self._train_branch(notice.last_window), notice.closed)
        if self.reporter:
            self.reporter.flush()
        if ending == ENDINGS[Directive.MOVE]:
            raise MovedError("the nodes of these workers are about to change")
        if self.reporter:
            self.job.coordinator.call(Coordinator.leave).get()

    def _train_branch(self, last_window: int) -> Directive:
        """Anneal a copy of the weights on replay, as the candidate for service; the main line stays as committed.

        Says whether to go on; a branch that was ended before its last step is begun anew by the next start.
        """
        main, config = self.position, self.config
        tokens = int(config.optim.schedule.decay * main.tokens)
        name, batch_tokens = branch_name(config.name, main.step), config.engine.batch_tokens
        done = broadcast_int(int(bool(commits.commits(self.store, name))) if self.rank == 0 else 0)
        if done or tokens < batch_tokens:
            return Directive.GO
        planned = self.job.feed.call(Feed.branch, main.step, tokens).get() if self.rank == 0 else None
        notice = broadcast_object(planned, RoundNotice)
        if notice.steps < 1:
            return Directive.GO
        lr_of = partial(
            branch_lr, branched_at=main.tokens, branch_tokens=notice.steps * batch_tokens, config=config.optim
        )
        self.position = replace(main, round=0, step_in_round=0, skipped=())
        course = Course(config.optim, batch_tokens, lr_of)
        self.line = Line(self._new_saver(name, math.inf), course, Skips(self.line.skips.most), is_branch=True)
        self._tell(BranchBegun(step=main.step, **notice._asdict()))
        directive = self._train_round(notice, BRANCH)
        if directive == Directive.GO:
            self._evaluate(last_window)
            self.line.saver.finish(self.position)
        return directive

    def _train_round(self, notice: RoundNotice, number: int) -> Directive:
        """Train the rest of a round, asked for under `number`; says whether to go on."""
        line, here = self.line, self.position
        check_in_step(round=number, step_in_round=here.step_in_round, step=here.step, steps=notice.steps)
        batches = self.batches.of_round(number, here.step_in_round, notice.steps)
        while (here := self.position).step_in_round < notice.steps:
            directive = Directive(broadcast_int(self._directive()))
            if directive != Directive.GO and not line.is_branch:  # a branch is committed whole or not at all
                line.saver.save(line.skips.committable(here))
            if directive in ENDINGS:
                return directive
            began = time.perf_counter()
            batch = next(batches)
            fetched = time.perf_counter()
            done = train_rows(self.engine, line.course, here, batch.rows, batch.predictions)
            self.position = done.position
            if self.reporter:
                for event in self.meter.events(batch, done, time.perf_counter() - began, fetched - began):
                    self._tell(event)
            line.skips.update(here, done.result, done.limit)
        return Directive.GO

    def _next_round(self) -> RoundNotice:
        """Ask the feed, as rank 0, until the round is planned or there is none; tell all ranks."""
        while True:
            notice: RoundNotice | None = None
            directive = self._directive()
            if self.rank == 0 and directive not in ENDINGS:
                notice = self.job.feed.call(Feed.round, self.position.round).get()
            notice, directive = broadcast_object(Turn(notice, directive), Turn)
            if directive in ENDINGS:
                return RoundNotice(-1, closed=ENDINGS[directive])
            if directive == Directive.CHECKPOINT:
                self.line.saver.save(self.line.skips.committable(self.position))
            if notice is not None:
                break
            time.sleep(POLL_SECONDS)
        if notice.steps >= 0:
            self._tell(RoundBegun(round=self.position.round, **notice._asdict()))
        return notice

    def _directive(self) -> Directive:
        """What rank 0 wants: what the driver asks for, or a checkpoint because it is time."""
        if self.reporter is None:
            return Directive.GO
        due = Directive.CHECKPOINT if self.line.saver.due() else Directive.GO
        return self.reporter.take_directive() or due

    def _evaluate(self, last_window: int) -> None:
        """Score all held-out text up to a window."""
        here = self.position
        event = self.evaluator.evaluate(self.engine, self.line.saver.author.run, here.step, last_window)
        if event is not None:
            self._tell(replace(event, round=here.round))

    def _alive(self) -> None:
        """Give a sign of life, as rank 0, where no step does."""
        if self.reporter:
            self.reporter.live()

    def _tell(self, event: Event) -> None:
        """Report an event, as rank 0; a step or an evaluation says whether it is one of a branch."""
        if self.reporter:
            of_line = isinstance(event, StepDone | Evaluated) and self.line.is_branch
            self.reporter.post(replace(event, branch=True) if of_line else event)

    def _new_saver(self, run: str, every_seconds: float) -> Saver:
        author = Author(self.store, run, self.attempt, self.rank, self.world, self._state)
        link = Link(self.job.coordinator, self._tell, self._alive)
        return Saver(author, self.engine, link, every_seconds, self.position.step)

    def _state(self, position: Position, probe_loss: float) -> TrainingState:
        config = self.config
        return TrainingState(
            position=position,
            probe_loss=probe_loss,
            world_size=self.world,
            batch_tokens=config.engine.batch_tokens,
            zero_stage=config.engine.zero_stage,
            precision=engine.resolve_precision(config.engine.precision),
            model=config.model.model_dump(mode="json"),
            tokenizer=self.tokenizer_fingerprint,
            base=self.job.base,
        )
