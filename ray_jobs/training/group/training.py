"""How is a worker group started, watched and brought to an end?

`Training` holds the run's actors and a Ray Train controller in a thread. The driver pumps events out of the coordinator
and hands directives in. Ray Train restarts workers that died; what is committed, and so where a started worker
begins, is our manifest's word alone.
"""

import logging
import os
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig

from cluster.runtime.actors import SERVICE, Answer, start_actor
from cluster.runtime.session import Session
from cluster.runtime.topology import Placement, place
from data_ops.documents.tokenizer import Tokenizer
from data_ops.ingest.events import Warned
from ray_jobs.config.schema import Config, planning, shape
from ray_jobs.evaluation.row_objective import training_objective
from ray_jobs.ingest.opening import OpenStore
from ray_jobs.ingest.task import ingest_task
from ray_jobs.outcome import last_line
from ray_jobs.store.lease import Lease
from ray_jobs.store.paths import run_path
from ray_jobs.training.actors.commit_coordinator import Claim
from ray_jobs.training.actors.coordinator import Coordinator
from ray_jobs.training.actors.feed import Feed, FeedSettings
from ray_jobs.training.directive import Directive
from ray_jobs.training.events import Event
from ray_jobs.training.group.failure_policy import GroupHealth
from ray_jobs.training.group.gloo_interface import OverNodes
from ray_jobs.training.group.node_policy import NodeWatch
from ray_jobs.training.group.scaling_policy import FittingTrainer
from ray_jobs.training.worker.loop import train_loop
from ray_jobs.training.worker.rank import WorkerJob

T = TypeVar("T")
logger = logging.getLogger(__name__)

STOP_SECONDS = 600.0  # how long a directive to stop may go unheard, for example because no worker can start
WATCH_SECONDS = 1.0  # between two looks at workers and nodes


class Training:
    """One driver's training of one run: ingest, feed, coordinator and workers."""

    def __init__(
        self, config: Config, opened: OpenStore, lease: Lease, session: Session, *, base: str | None, follow: bool
    ) -> None:
        self.config, self.session, self.attempt = config, session, secrets.token_hex(4)
        self.placement = placement(config, session)
        self.num_nodes = len(session.nodes())
        claim = Claim(config.name, lease, config.checkpoint.keep)
        self.coordinator = start_actor(Coordinator, SERVICE, config.store, claim)
        settings = feed_settings(config, opened.tokenizer, follow=follow)
        self.feed = start_actor(Feed, {**SERVICE, "max_concurrency": 16}, settings)
        self.ingest = ingest_task.remote(config.store, opened.settings, opened.tokenizer_json, follow, self.coordinator)
        job = WorkerJob(config.model_dump_json(), opened.tokenizer_json, self.feed, self.coordinator, base)
        self.trainer = FittingTrainer(
            train_loop,
            session=session,
            requested=config.engine.workers,
            batch_rows=shape(config).batch_rows,
            train_loop_config={"job": job},
            torch_config=OverNodes(backend="nccl" if self.placement.gpus_per_worker else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=num_workers(config, self.placement, session),
                use_gpu=bool(self.placement.gpus_per_worker),
                resources_per_worker=self.placement.resources_per_worker,
            ),
            run_config=RunConfig(
                name=self.attempt,
                storage_path=f"{config.store}/{run_path(config.name, 'ray')}",
                failure_config=FailureConfig(
                    max_failures=-1, controller_failure_limit=3
                ),  # our own Health says when to stop,
            ),
        )
        self.failure: str | None = None
        self.health = GroupHealth()
        self.watched_at = 0.0
        self.read: tuple[str, int] = ("", 0)
        self.last_window: int | None = None  # once ingest is done: the window it ended with
        self.stopping_since: float | None = None
        self.nodes = NodeWatch(config.engine.workers, shape(config).batch_rows)
        self.thread = threading.Thread(target=self._fit, daemon=True, name="train")

    def events(self, stopped: threading.Event, every_seconds: float = 0.25) -> Iterator[Event]:
        """Train, and yield what happens, until the workers are done; then look at `failure`.

        Every directive is told again at each turn, because an actor that was restarted has forgotten it.
        """
        self.thread.start()
        while self.thread.is_alive():
            yield from self.new_events()
            self._watch_ingest()
            self._watch_workers()
            if (stopped.is_set() or self.failure) and not self._stop():
                return
            self.thread.join(every_seconds)
        yield from self.new_events()

    def _stop(self) -> bool:
        """Ask for a checkpoint and the end; False once that was asked for too long without an end."""
        self.stopping_since = self.stopping_since or time.monotonic()
        self.coordinator.call(Coordinator.ask, Directive.STOP)
        return time.monotonic() - self.stopping_since < STOP_SECONDS

    def tell(self, events: Sequence[Event]) -> None:
        """Take events of the driver's own threads in among those of the workers."""
        self.coordinator.call(Coordinator.post, events).get()

    def sample_fingerprint(self, window: int) -> str:
        """Fingerprint of the reservoir as of a window."""
        return self.feed.call(Feed.fingerprint, window).get()

    def close(self) -> None:
        """End the actors and what still ingests."""
        ray.cancel(self.ingest, force=True)
        self.feed.kill()
        self.coordinator.kill()

    def _fit(self) -> None:
        try:
            self.trainer.fit()
        except Exception as error:  # noqa: BLE001 - whatever ended training, the driver has to know
            self.failure = self.failure or last_line(error)

    def new_events(self) -> list[Event]:
        """Return what happened since the last look."""
        events, life, since = self._answer(self.coordinator.call(Coordinator.read, *self.read))
        self.read = life, since
        for event in events:
            self.nodes.update(event)
            if hopeless := self.health.update(event):
                self.failure = self.failure or hopeless
        return list(events)

    def _answer(self, answer: Answer[T]) -> T:
        """Wait for the coordinator; if it is silent for too long it is started again, and then does what it was asked.

        Without it nothing is committed and no worker is told to stop, though workers and heart go on.
        """
        while True:
            try:
                return answer.get(self.config.engine.hang_seconds)
            except TimeoutError:
                logger.warning("the coordinator of run %s does not answer and is started again", self.config.name)
                self.coordinator.kill(restart=True)

    def _watch_workers(self) -> None:
        """Now and then: are the workers hung, and are nodes about to leave, or new ones there?"""
        if time.monotonic() - self.watched_at < WATCH_SECONDS:
            return
        self.watched_at = time.monotonic()
        self.coordinator.call(Coordinator.end_hung_workers, self.config.engine.hang_seconds)
        here = self._answer(self.coordinator.call(Coordinator.nodes))
        directive, why = self.nodes.look(self.session.nodes(), self.session.draining() & here)
        if directive != Directive.GO:
            self.coordinator.call(Coordinator.ask, directive)
        if why:
            self.coordinator.call(Coordinator.post, [Warned(text=why)])

    def _watch_ingest(self) -> None:
        """Tell the feed when the sources are drained, or that ingest failed."""
        if self.last_window is None and ray.wait([self.ingest], timeout=0)[0]:
            try:
                self.last_window = ray.get(self.ingest)
            except ray.exceptions.RayError as error:
                self.last_window = -1
                self.failure = self.failure or f"ingest failed: {last_line(error)}"
        if self.failure:
            self.feed.call(Feed.fail, self.failure)
        elif self.last_window is not None:
            self.feed.call(Feed.drained, self.last_window)


def feed_settings(config: Config, tokenizer: Tokenizer, *, follow: bool = False) -> FeedSettings:
    """Everything of a configuration that decides a run's rounds."""
    return FeedSettings(
        store=config.store,
        run=config.name,
        plan=planning(config),
        objective=training_objective(config.model, tokenizer, config.seed),
        follow=follow,
    )


def placement(config: Config, session: Session) -> Placement:
    """How the workers sit on the cluster; ValueError says what fits instead."""
    return place(config.engine.workers, list(session.nodes().values()), shape(config).batch_rows)


def num_workers(config: Config, placed: Placement, session: Session) -> int | tuple[int, int]:
    """What Ray Train starts: a number, or a range of which it takes as many as fit whenever it starts a group.

    On a local Ray the range ends at what fits beside data tasks now; on a cluster that grows it stays as configured.
    """
    fewest = config.engine.fewest
    most = placed.workers if session.is_local else config.engine.most
    return most if fewest >= most else (fewest, most)


os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
