"""What does one rank hold, and what can it do: train a round, score held-out text, commit, tell?

It knows nothing of the order of these things: that is loop.py's, and judgement.py's where a candidate is made. What
differs between the main line and a decay branch of it is a `Line`: where it commits, how it steps, what it skipped.
"""

import os
import secrets
import time
from dataclasses import dataclass
from functools import partial

import ray
import torch
from msgspec.structs import replace

from cluster.runtime.actors import Handle, this_actor
from cluster.storage.store import Store
from data_ops.documents.tokenizer import Tokenizer
from models.engine import engine
from models.engine.average import WeightAverage
from models.engine.optim import lr_at
from models.kinds.kinds import training_flops
from models.measures import metrics
from ray_jobs.checkpoints.position import Judgement, Position, TrainingState
from ray_jobs.config.schema import Config
from ray_jobs.evaluation.row_objective import judged_objective
from ray_jobs.training.actors.batches import Batches
from ray_jobs.training.actors.coordinator import Coordinator
from ray_jobs.training.actors.feed import Feed
from ray_jobs.training.directive import Directive
from ray_jobs.training.events import Evaluated, Event, Started, StepDone
from ray_jobs.training.worker.collectives import broadcast_int, check_in_step
from ray_jobs.training.worker.evaluator import Evaluator
from ray_jobs.training.worker.reporter import Reporter
from ray_jobs.training.worker.restore import Beginning, restore
from ray_jobs.training.worker.saver import Author, Link, Saver
from ray_jobs.training.worker.skips import Skips
from ray_jobs.training.worker.step import Course, train_rows
from ray_jobs.training.worker.step_events import StepMeter

AVERAGED = 0.1  # share of all tokens, the last ones, over which weights are averaged (LAWA, PMA: see average.py)
ENDINGS = {Directive.MOVE: "moved", Directive.STOP: "stopped"}  # why the feed has no next round for this group


@dataclass(frozen=True)
class WorkerJob:
    """What every rank gets from the driver: configuration and tokenizer as JSON, the two actors, where it begins."""

    config: str
    tokenizer: str
    feed: Handle[Feed]
    coordinator: Handle[Coordinator]
    base: str | None = None  # checkpoint of the weights that the run begins with; None: random ones


@dataclass(frozen=True)
class Line:
    """A line of training: where it commits, how it steps and what it skipped. The main line, or a decay branch."""

    saver: Saver
    course: Course
    skips: Skips
    is_branch: bool = False


class Rank:
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
        objective = judged_objective(config.model, tokenizer)
        self.evaluator = Evaluator(self.store, config.evaluate, config.model.row_tokens, objective, self.live)
        self.average = WeightAverage(self.engine, AVERAGED) if config.judge.averages else None
        self.begin()
        text = f"{world} workers at step {self.position.step}"
        self.tell(Started(step=self.position.step, workers=world, pid=os.getpid(), text=text))
        flops = training_flops(config.model, tokens)
        peak = metrics.peak_flops(torch.cuda.get_device_name()) if torch.cuda.is_available() else None
        self.meter = StepMeter(config.engine.batch_tokens, world, flops, peak)

    def begin(self) -> None:
        """Stand on the main line, where its newest whole checkpoint stands."""
        config, coordinator = self.config, self.job.coordinator
        beginning = Beginning(self.store, config.name, self.job.base, config.seed)
        state = restore(beginning, self.engine, self.average, coordinator, self.tell)
        self.position = state.position if state else Position()
        self.judged = (state.judged if state else None) or self._counting_begins()
        course = Course(config.optim, config.engine.batch_tokens, partial(lr_at, config=config.optim))
        skips = Skips(config.optim.max_skipped_in_a_row)
        saver = self.new_saver(config.name, config.checkpoint.every_seconds, self.position.step)
        self.line = Line(saver, course, skips)

    def train_round(self, number: int, steps: int) -> Directive:
        """Train the rest of a round of `steps`, asked for under `number`; says whether to go on."""
        line, here = self.line, self.position
        check_in_step(round=number, step_in_round=here.step_in_round, step=here.step, steps=steps)
        batches = self.batches.of_round(number, here.step_in_round, steps)
        while (here := self.position).step_in_round < steps:
            directive = Directive(broadcast_int(self.directive()))
            if directive != Directive.GO and not line.is_branch:  # a branch is committed whole or not at all
                line.saver.save(line.skips.committable(here))
            if directive in ENDINGS:
                return directive
            began = time.perf_counter()
            batch = next(batches)
            fetched = time.perf_counter()
            done = train_rows(self.engine, line.course, here, batch.rows, batch.predictions)
            self.position = done.position
            if self.average is not None and not line.is_branch:
                self.average.update(line.course.batch_tokens, done.position.tokens)
            if self.reporter:
                for event in self.meter.events(batch, done, time.perf_counter() - began, fetched - began):
                    self.tell(event)
            line.skips.update(here, done.result, done.limit)
        return Directive.GO

    def directive(self) -> Directive:
        """What rank 0 wants: what the driver asks for, or a checkpoint because it is time."""
        if self.reporter is None:
            return Directive.GO
        due = Directive.CHECKPOINT if self.line.saver.due() else Directive.GO
        return self.reporter.take_directive() or due

    def evaluate(self, last_window: int) -> None:
        """Score all held-out text up to a window."""
        here = self.position
        event = self.evaluator.evaluate(self.engine, self.line.saver.author.run, here.step, last_window)
        if event is not None:
            self.tell(replace(event, round=here.round))

    def live(self) -> None:
        """Give a sign of life, as rank 0, where no step does."""
        if self.reporter:
            self.reporter.live()

    def tell(self, event: Event) -> None:
        """Report an event, as rank 0; a step or an evaluation says whether it is one of a branch."""
        if self.reporter:
            of_line = isinstance(event, StepDone | Evaluated) and self.line.is_branch
            self.reporter.post(replace(event, branch=True) if of_line else event)

    def new_saver(self, run: str, every_seconds: float, saved_step: int) -> Saver:
        """Make what commits under a name; at `saved_step` it has nothing to save."""
        average = self.average if run == self.config.name else None
        author = Author(self.store, run, self.attempt, self.rank, self.world, self._state, average)
        link = Link(self.job.coordinator, self.tell, self.live)
        return Saver(author, self.engine, link, every_seconds, saved_step)

    def _counting_begins(self) -> Judgement:
        """Count from here what lies between two judgements: a new run, or one of a version that did not count."""
        now_s = broadcast_int(int(time.time()))
        return Judgement(round=self.position.round, tokens=self.position.tokens, time_s=now_s)

    def _state(self, position: Position, probe_loss: float) -> TrainingState:
        config = self.config
        return TrainingState(
            position=position,
            probe_loss=probe_loss,
            world_size=self.world,
            batch_tokens=config.engine.batch_tokens,
            zero_stage=config.engine.zero_stage,
            optimizer=config.optim.kind.value,
            precision=engine.resolve_precision(config.engine.precision),
            model=config.model.model_dump(mode="json"),
            tokenizer=self.tokenizer_fingerprint,
            judged=self.judged,
            base=self.job.base,
        )
