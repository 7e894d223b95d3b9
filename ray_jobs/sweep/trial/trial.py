"""What does one trial of a sweep do, in its own process?

Load the weights every trial starts from, train on the recorded rows with its own settings through the same engine and
step as a run, and at every mark commit and be judged: bits per byte of the *averaged* weights on fresh and old
held-out text. What was judged stands in the store; a trial that is started again reads it from there, and goes on
from its last commit. A process trains one trial after the other (a new one costs seconds), so `TrialHost` keeps what
they share.
"""

import os
import secrets
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import torch
import torch.distributed as dist
from msgspec.structs import replace

from cluster.storage.state import read_json, write_json
from cluster.storage.store import Store
from data_ops.documents.tokenizer import Tokenizer
from data_ops.lake.lake import Lake
from models.config import ModelConfig
from models.device import device
from models.engine import engine
from models.engine.average import WeightAverage
from models.engine.optim import lr_at
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.position import Position, TrialState
from ray_jobs.config.blocks import EvaluateConfig
from ray_jobs.config.schema import Config
from ray_jobs.evaluation.held_out import HeldOut, held_out, steering
from ray_jobs.evaluation.row_objective import judged_objective, training_objective
from ray_jobs.evaluation.scores import by_slice, score, with_nats
from ray_jobs.sweep.trial.checkpoint import load_trial, save
from ray_jobs.sweep.trial.job import (
    MarkVerdict,
    Refused,
    Segment,
    SweepJob,
    TrialEnd,
    end_path,
    result_path,
    segment_run,
    start_run,
)
from ray_jobs.sweep.trial.recorded_rounds import Diet, RecordedRows, rank_part
from ray_jobs.sweep.trial.score import bits_over, combined, thinned
from ray_jobs.sweep.trial.tracking import Tracking
from ray_jobs.training.directive import Directive
from ray_jobs.training.worker.collectives import broadcast_int, broadcast_object
from ray_jobs.training.worker.step import Course, train_rows

BEAT_SECONDS = 5.0  # after which a trial says how far it is, and can be stopped
Kept = TypeVar("Kept")


class TrialHost:
    """A process that trains segments, one after the other."""

    def __init__(self, job: SweepJob) -> None:
        self.job, self.store = job, Store.open(job.store)
        self.tokenizer = Tokenizer.from_json(job.tokenizer)
        self.held: HeldOut | None = None
        self.rows: dict[str, RecordedRows] = {}
        os.environ.pop("WANDB_RUN_ID", None)  # of who started the sweep: every trial is a run of its own

    def begin(self, segment: Segment) -> "Trial | Refused":
        """Take up a segment, where it stands."""
        return Trial(self, segment) if segment.last else Refused(self.job.marks[0])

    def text(self, config: EvaluateConfig, model: ModelConfig) -> HeldOut:
        """The held-out text; the same for every trial."""
        if self.held is None:
            lake, last = Lake(self.store), self.job.last_window
            asked = model.row_tokens, judged_objective(model, self.tokenizer), steering(lake, last, config)
            self.held = held_out(lake, last, config, *asked)
        return self.held

    def rows_of(self, diet: Diet, config: Config) -> RecordedRows:
        """The recorded rows of a diet, as a trial with this configuration learns them."""
        objective = training_objective(config.model, self.tokenizer, config.seed)
        if diet.run not in self.rows:
            self.rows = {diet.run: RecordedRows(self.store, diet, objective)}
        return self.rows[diet.run].asking(objective)


class Names(NamedTuple):
    """Checkpoints of a trial: the last one of its own, and the one to load."""

    own: str | None
    load: str | None


class Trial:
    """One segment on its way. Nothing is loaded before something has to be trained."""

    def __init__(self, host: TrialHost, segment: Segment) -> None:
        self.host, self.job, self.segment = host, host.job, segment
        self.config = Config.model_validate_json(segment.config)
        self.run = segment_run(self.job.run, segment.key)
        lr_of = partial(lr_at, config=self.config.optim)
        self.course = Course(self.config.optim, self.config.engine.batch_tokens, lr_of)
        self.mark = segment.first  # last mark judged
        self.engine: engine.Engine | None = None
        self.average: WeightAverage | None = None
        self.position = Position()
        self.curve: list[tuple[int, float]] = []
        self.seconds = 0.0
        self.saved_at = time.monotonic()
        self.saved_step = -1
        self.attempt = secrets.token_hex(4)  # a process that should be dead writes into a folder of its own
        self.begun = 0  # tokens behind the sweep's start that its donor had trained
        self.tracking: Tracking | None = None
        self.is_whole = True  # False while it advances, and so for ever if that failed: W&B shows it as failed then
        self.ended = self._read(end_path(self.job.run, segment.key), TrialEnd)

    def advance(self) -> Mapping[str, object]:
        """Train to the next mark and return its verdict, or say after a while how far it is: {trained}."""
        number, self.is_whole = self.mark + 1, False
        known = self._read(result_path(self.job.run, self.segment.key, number), MarkVerdict)
        if known is None:
            if self.engine is None:
                self._load()
            is_there = self._train(self.job.marks[number - 1])
            if self.tracking is not None:
                self.tracking.log_curve(self.curve)
            if not is_there:
                self.is_whole = True
                return {"trained": self.trained}
            known = self._judge(number)
        self.mark, self.is_whole = number, True
        done = number >= self.segment.last or known["score"] is None
        if done or (self.ended is not None and number >= self.ended["mark"]):
            self.close()  # at once, for its process may wait long for the next trial, and another may go on with it
            return {**known, "done": True}
        return {**known, "done": False}

    def close(self) -> None:
        """Commit what was trained since the last commit, and let go."""
        if self.engine is not None:
            self._commit()
            self.engine.close()
            self.engine = self.average = None
        if self.tracking is not None:
            self.tracking.close({"mark": self.mark, "trained": self.trained} if self.is_whole else None)
            self.tracking = None

    @property
    def trained(self) -> int:
        """Tokens behind the sweep's start."""
        return self.position.tokens - self.job.start_tokens

    @property
    def batch_tokens(self) -> int:
        """Tokens of a step."""
        return self.config.engine.batch_tokens

    def _read(self, path: str, kind: type[Kept]) -> Kept | None:
        try:
            return read_json(self.host.store, path, kind)
        except FileNotFoundError:
            return None

    def _load(self) -> None:
        """Start the engine with the trial's last commit, or the donor's, or the weights the sweep starts from."""
        config, store = self.config, self.host.store
        vocabulary = config.model.tokens_of(self.host.tokenizer.vocab_size)
        self.engine = engine.start(config.model, vocabulary, config.engine, config.optim, config.seed)
        self.average, self.attempt = WeightAverage(self.engine, self.job.average), broadcast_object(self.attempt, str)
        donor = segment_run(self.job.run, self.segment.donor) if self.segment.donor else None
        names = broadcast_object(self._found(donor) if dist.get_rank() == 0 else None, Names)
        own, found = (commits.by_name(store, name) if name else None for name in (names.own, names.load))
        if found is None and (donor or self.job.start):
            gone = donor or self.job.start
            raise FileNotFoundError(f"the weights of {gone} are gone, which {self.run} goes on with; start anew")
        if found is not None:
            is_own = own is not None
            self.position = load_trial(store, found, self.engine, self.average, config.seed, is_own=is_own)
        if own is not None and isinstance(own.state, TrialState):
            self.curve = self._since_mark(own.state.curve)  # a commit comes before its verdict
            self.seconds, self.saved_step = own.state.seconds if self.curve else 0.0, own.step
            self.begun = own.state.begun
        else:
            self.begun = self.trained
            self.position = replace(self.position, round=0, step_in_round=0, skipped=())
        if dist.get_rank() == 0:
            self.tracking = Tracking(self.job, self.segment, self.config, store)

    def _found(self, donor: str | None) -> Names:
        """Name its own last commit, and what to load: that, or the donor's, or what the sweep starts from."""
        store = self.host.store
        own = found = commits.latest(store, self.run)
        if own is None and donor is not None:
            found = commits.latest(store, donor)
        elif own is None and self.job.start:
            found = commits.newest_readable(store, start_run(self.job.run))
        return Names(own.name if own else None, found.name if found else None)

    def _train(self, mark: int) -> bool:
        """Step until the next step would end beyond `mark`; False if it took longer than a beat and goes on."""
        assert self.engine is not None and self.average is not None
        config, rows = self.config, self.host.rows_of(self.segment.diet, self.config)
        count = config.engine.batch_rows(config.model.row_tokens)
        began, first = time.perf_counter(), self.trained
        while self.trained + self.batch_tokens <= mark:
            late = time.perf_counter() - began > BEAT_SECONDS and self.trained > first
            due = time.monotonic() - self.saved_at > config.checkpoint.every_seconds
            wanted = Directive.STOP if late else Directive.CHECKPOINT if due else Directive.GO
            directive = broadcast_int(wanted)
            if directive == Directive.STOP:
                break
            if directive == Directive.CHECKPOINT:
                self._commit()
            batch, predictions = rows.batch(self.trained // config.model.row_tokens, count)
            mine = rank_part(batch, dist.get_rank(), dist.get_world_size())
            result, self.position, *_ = train_rows(self.engine, self.course, self.position, mine, predictions)
            self.average.update(self.batch_tokens, self.trained)
            self.curve.append((self.trained, result.loss))
        self.seconds += time.perf_counter() - began
        return self.trained + self.batch_tokens > mark

    def _judge(self, number: int) -> MarkVerdict:
        """Commit, score the averaged weights, and write the verdict down; score None: it has diverged."""
        assert self.engine is not None and self.average is not None
        self._commit()
        began = time.perf_counter()
        data = self.host.text(self.config.evaluate, self.config.model)
        with self.average.in_place():
            mine = score(data, self.engine.evaluate, dist.get_rank(), dist.get_world_size())
            nats = torch.from_numpy(mine).to(device())
            dist.all_reduce(nats)
        slices = by_slice(with_nats(data, nats.cpu().numpy()))
        fresh, old = (bits_over(slices, [s for s in slices if (s in self.job.fresh) == new]) for new in (True, False))
        verdict: MarkVerdict = {
            "key": self.segment.key,
            "mark": number,
            "tokens": self.job.marks[number - 1],
            "trained": self.trained,
            "begun": self.begun,
            "steps": self.position.step_in_round,
            "skipped": len(self.position.skipped),
            "score": combined(fresh, old, self.job.old_share),
            "fresh": fresh,
            "old": old,
            "slices": {name: row["bits_per_byte"] for name, row in slices.items()},
            "curve": thinned(self._since_mark(self.curve)),
            "train_seconds": self.seconds,
            "judge_seconds": time.perf_counter() - began,
        }
        if dist.get_rank() == 0:
            write_json(self.host.store, result_path(self.job.run, self.segment.key, number), verdict)
        if self.tracking is not None:
            self.tracking.log_verdict(verdict)
        self.curve, self.seconds = [], 0.0
        return verdict

    def _since_mark(self, curve: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
        """The points behind the last mark that was judged."""
        behind = self.job.marks[self.mark - 1] if self.mark else 0
        return [point for point in curve if point[0] > behind]

    def _commit(self) -> None:
        """Commit weights, moments, average and position, and let the commit before go."""
        assert self.engine is not None and self.average is not None
        self.saved_at = time.monotonic()
        here = self.position
        if here.step_in_round == 0 or here.step == self.saved_step:
            return
        self.saved_step = here.step
        state = TrialState(
            position=here,
            probe_loss=self.engine.probe(),
            batch_tokens=self.batch_tokens,
            precision=engine.resolve_precision(self.config.engine.precision),
            optimizer=self.config.optim.kind.value,
            model=self.config.model.model_dump(mode="json"),
            base=self.engine.base,
            curve=tuple(self.curve),
            seconds=self.seconds,
            begun=self.begun,
        )
        save(self.host.store, self.run, self.attempt, self.engine, self.average, state)
