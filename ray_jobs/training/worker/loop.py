"""What does one training worker do, from start to the last commit?

Restore the newest committed checkpoint, then for every round of the feed: fetch, step, report; commit every so often;
judge held-out text between rounds. Rank 0 asks (is there a round? is it time to commit? shall we stop?) and all ranks
hear the same answer, so they never disagree on what comes next; the price is one small broadcast a step.
"""

import logging
import math
import os
import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import ray
import ray.train
import torch
import torch.distributed as dist
from msgspec.structs import replace

from cluster.rows import Rows
from cluster.storage.store import Store
from data_ops.documents.tokenizer import Tokenizer
from data_ops.lake.lake import Lake
from models.device import device
from models.engine import engine
from models.engine.optim import branch_lr, lr_at
from models.kinds.kinds import kind_of
from models.measures import metrics
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.position import Position, TrainingState
from ray_jobs.config.schema import Config
from ray_jobs.evaluation.held_out import held_out
from ray_jobs.evaluation.scores import by_slice, score, with_nats, write_scores
from ray_jobs.store.paths import branch_name
from ray_jobs.training.actors.coordinator import CHECKPOINT, GO, MOVE, STOP
from ray_jobs.training.actors.feed import BRANCH, Batch, RoundNotice
from ray_jobs.training.events import BranchBegun, Evaluated, Event, Fault, RoundBegun, Started, StepDone, StepSkipped
from ray_jobs.training.worker.collectives import agree, check_in_step, hear
from ray_jobs.training.worker.reporter import Reporter
from ray_jobs.training.worker.restore import restore
from ray_jobs.training.worker.saver import Author, Saver
from ray_jobs.training.worker.step import take_step

logger = logging.getLogger(__name__)

PREFETCH = 3
ENDINGS = {MOVE: "moved", STOP: "stopped"}  # how the feed's next round is called when there will be none
POLL_SECONDS = 0.05  # between two questions for a round that is not planned yet


class MovedError(RuntimeError):
    """The group left its nodes after a checkpoint; Ray Train starts it again on those that stay."""


def train_loop(job: dict[str, Any]) -> None:
    """Run as one rank of a Ray Train worker group; `job` holds config, tokenizer and the two actors."""
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    try:
        Worker(job, rank, world).train()
    except MovedError:
        raise
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        ray.get(job["board"].post.remote([Fault(rank=rank, text=f"{type(error).__name__}: {said}")]))
        raise


class Worker:
    """One rank of one attempt."""

    def __init__(self, job: dict[str, Any], rank: int, world: int) -> None:
        self.config = Config.model_validate_json(job["config"])
        self.feed, self.board = job["feed"], job["board"]
        self.rank, self.world = rank, world
        self.store = Store.open(self.config.store)
        self.tokenizer = Tokenizer.from_json(job["tokenizer"])
        self.reporter = Reporter(self.board) if rank == 0 else None
        config = self.config
        engine.join(config.engine.threads)
        self.attempt = f"{agree(secrets.randbits(32)):08x}"  # no two worker groups write to the same folder
        context = ray.get_runtime_context()
        ray.get(self.board.join.remote(self.attempt, rank, context.current_actor, context.get_node_id()))
        self.engine = engine.start(config.model, self.tokenizer.vocab_size, config.engine, config.optim, config.seed)
        self.judged_window = -1  # up to which the held-out text of the last evaluation went
        self.position = restore(self.store, config.name, self.engine, self.board, rank, self._tell)
        self.branched_at = self.branch_tokens = 0  # tokens at which the decay branch began, and its length
        self.saver = self._new_saver(config.name, config.checkpoint.every_seconds)
        text = f"{world} workers at step {self.position.step}"
        self._tell(Started(step=self.position.step, workers=world, pid=os.getpid(), text=text))
        self.flops = kind_of(config.model).flops_per_token(config.model, self.tokenizer.vocab_size)
        self.peak = metrics.peak_flops(torch.cuda.get_device_name()) if torch.cuda.is_available() else None

    def train(self) -> None:
        """Train round after round until the feed has no more or the driver says stop."""
        if agree(ray.get(self.board.beat.remote([])) if self.rank == 0 else GO) == STOP:
            return
        while (notice := self._next_round()).steps >= 0:
            if (wish := self._train_round(notice, self.position.round, self._main_lr)) != GO:
                notice = RoundNotice(-1, closed=ENDINGS[wish])
                break
            self.position = replace(self.position, round=self.position.round + 1, step_in_round=0)
            if self.position.round % self.config.evaluate.every_rounds == 0:
                self._evaluate(notice)
        self.saver.save(self.position)
        if notice.closed == "end" and notice.last_window != self.judged_window:
            self._evaluate(notice)
        self.saver.finish(self.position)
        ending = notice.closed
        if ending == "end" and self.config.optim.schedule.kind == "infinite":
            ending = ENDINGS.get(self._train_branch(notice.last_window), notice.closed)
        if self.reporter:
            self.reporter.flush()
        if ending == ENDINGS[MOVE]:
            raise MovedError("the nodes of these workers are about to change")
        if self.reporter:
            ray.get(self.board.leave.remote())

    def _train_branch(self, last_window: int) -> int:
        """Anneal a copy of the weights on replay, as the candidate for service; the main line stays as committed.

        Says whether to go on; a branch that was ended before its last step is begun anew by the next start.
        """
        main = self.position
        tokens = int(self.config.optim.schedule.decay * main.tokens)
        name = branch_name(self.config.name, main.step)
        done = agree(int(bool(commits.commits(self.store, name))) if self.rank == 0 else 0)
        if done or tokens < self.config.engine.batch_tokens:
            return GO
        notice = hear(ray.get(self.feed.branch.remote(main.step, tokens)) if self.rank == 0 else None)
        if notice.steps < 1:
            return GO
        self.branched_at, self.branch_tokens = main.tokens, notice.steps * self.config.engine.batch_tokens
        self.position = replace(main, round=0, step_in_round=0, skipped=())
        self.saver = self._new_saver(name, math.inf)
        self._tell(BranchBegun(step=main.step, **notice._asdict()))
        wish = self._train_round(notice, BRANCH, self._branch_lr)
        if wish == GO:
            self._evaluate(notice._replace(last_window=last_window))
            self.saver.finish(self.position)
        return wish

    def _main_lr(self, tokens: int) -> float:
        return lr_at(tokens, self.config.optim)

    def _branch_lr(self, tokens: int) -> float:
        return branch_lr(tokens, self.branched_at, self.branch_tokens, self.config.optim)

    def _train_round(self, notice: RoundNotice, number: int, lr_of: Callable[[int], float]) -> int:
        """Train the rest of a round, asked for under `number`; says whether to go on."""
        config, here = self.config, self.position
        check_in_step(round=number, step_in_round=here.step_in_round, step=here.step, steps=notice.steps)
        batches = self._prefetched(number, here.step_in_round, notice.steps)
        while (here := self.position).step_in_round < notice.steps:
            wish = agree(self._wish())
            if wish != GO and not self.branch_tokens:  # a branch is committed whole or not at all
                self.saver.save(here)
            if wish in ENDINGS:
                return wish
            began = time.perf_counter()
            batch = next(batches)
            fetched = time.perf_counter()
            tokens = config.engine.batch_tokens
            lr, rows = lr_of(here.tokens + tokens), batch.rows
            done = take_step(self.engine, here, rows, batch.predictions, tokens, lr, config.optim)
            self.position = done.position
            self._report(batch, done.result, lr, done.limit, began, fetched)
        return GO

    def _next_round(self) -> RoundNotice:
        """Ask the feed, as rank 0, until the round is planned or there is none; tell all ranks."""
        while True:
            notice: RoundNotice | None = None
            wish = self._wish()
            if self.rank == 0 and wish not in ENDINGS:
                notice = ray.get(self.feed.round.remote(self.position.round))
            notice, wish = hear((notice, wish))
            if wish in ENDINGS:
                return RoundNotice(-1, closed=ENDINGS[wish])
            if wish == CHECKPOINT:
                self.saver.save(self.position)
            if notice is not None:
                break
            time.sleep(POLL_SECONDS)
        if notice.steps >= 0:
            self._tell(RoundBegun(round=self.position.round, **notice._asdict()))
        return notice

    def _prefetched(self, number: int, first: int, steps: int) -> Any:
        """Yield the batches of a round in order, a few requests ahead."""
        waiting: deque[Any] = deque()
        for step in range(first, steps + PREFETCH):
            if step < steps:
                waiting.append(self.feed.batch.remote(number, step, self.rank, self.world))
            if waiting and (len(waiting) > PREFETCH or step >= steps):
                yield Batch(*ray.get(waiting.popleft()))
        while waiting:
            yield Batch(*ray.get(waiting.popleft()))

    def _wish(self) -> int:
        """What rank 0 wants: the driver's wish, or a checkpoint because it is time."""
        if self.reporter is None:
            return GO
        return self.reporter.wish() or (CHECKPOINT if self.saver.due() else GO)

    def _alive(self) -> None:
        """Give a sign of life, as rank 0, where no step does."""
        if self.reporter:
            self.reporter.live()

    def _report(
        self, batch: Batch, result: engine.StepResult, lr: float, limit: float, began: float, fetched: float
    ) -> None:
        if self.reporter is None:
            return
        here, now = self.position, time.perf_counter()
        rate = self.config.engine.batch_tokens / (now - began)
        fresh = np.sort(time.time() - batch.arrived_s)
        shown = fresh if len(fresh) <= 64 else np.quantile(fresh, np.linspace(0, 1, 64))
        event = StepDone(
            branch=bool(self.branch_tokens),
            step=here.step,
            round=here.round,
            tokens=here.tokens,
            predictions=batch.predictions,
            loss=result.loss,
            grad_norm=result.grad_norm,
            learning_rate=lr,
            seconds=now - began,
            data_wait_s=fetched - began,
            tokens_per_second=rate,
            mfu=metrics.mfu(rate, self.flops, self.world, self.peak),
            freshness_s=tuple(round(float(s), 3) for s in shown),
            skipped_steps=len(here.skipped),
        )
        if result.skipped:
            spike = f"its loss of {result.loss:.3f} is above {limit:.3f}"
            text = spike if result.loss > limit else "its loss or gradient is not finite"
            self.reporter.post(StepSkipped(step=here.step, round=here.round, text=text))
        self.reporter.post(event)

    def _evaluate(self, notice: RoundNotice) -> None:
        """Judge all held-out documents up to the round's last window; rank 0 keeps and reports the figures."""
        config, tokenizer = self.config, self.tokenizer
        self.judged_window = notice.last_window
        began = time.perf_counter()
        data = held_out(
            Lake(self.store), notice.last_window, config.evaluate, config.model.row_tokens, tokenizer.document_token
        )
        nats = torch.from_numpy(score(data, self._score_rows, self.rank, self.world)).to(device())
        dist.all_reduce(nats)
        if self.reporter and data.table.num_rows:
            table = with_nats(data, nats.cpu().numpy())
            write_scores(self.store, self.saver.author.run, f"{self.position.step:08d}", table)
            here, seconds = self.position, time.perf_counter() - began
            branch, slices = bool(self.branch_tokens), by_slice(table)
            self.reporter.post(
                Evaluated(branch=branch, step=here.step, round=here.round, slices=slices, seconds=seconds)
            )

    def _score_rows(self, rows: Rows) -> Any:
        self._alive()
        return self.engine.evaluate(rows)

    def _new_saver(self, run: str, every_seconds: float) -> Saver:
        author = Author(self.store, run, self.attempt, self.rank, self.world, self._state)
        return Saver(author, self.engine, self.board, self._tell, self._alive, every_seconds, self.position.step)

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
            tokenizer=self.tokenizer.fingerprint,
        )

    def _tell(self, event: Event) -> None:
        """Report an event, as rank 0."""
        if self.reporter:
            self.reporter.post(event)
