"""How is a worker group started, watched and brought to an end?

`Training` holds the run's actors and a Ray Train controller in a thread. The driver pumps events out of the board and
hands the wish to stop in. Ray Train restarts workers that died; what is committed, and so where a started worker
begins, is our manifest's word alone.
"""

import logging
import os
import secrets
import threading
import time
from collections.abc import Iterator
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig

from cluster.runtime.session import Session
from cluster.runtime.topology import Placement, place
from data_ops.ingest.events import Warned
from ray_jobs.config.schema import Config, shape
from ray_jobs.ingest.opening import OpenStore
from ray_jobs.ingest.task import ingest_task
from ray_jobs.outcome import last_line
from ray_jobs.store.lease import Lease
from ray_jobs.store.paths import run_path
from ray_jobs.training.actors.coordinator import GO, STOP, Board
from ray_jobs.training.actors.feed import Feed, FeedSettings
from ray_jobs.training.events import Event
from ray_jobs.training.group.failure_policy import Health
from ray_jobs.training.group.gloo_interface import OverNodes
from ray_jobs.training.group.node_policy import NodeWatch
from ray_jobs.training.group.scaling_policy import FittingTrainer
from ray_jobs.training.worker.loop import train_loop

logger = logging.getLogger(__name__)

STOP_SECONDS = 600.0  # how long a wish to stop may go unheard, for example because no worker can start
WATCH_SECONDS = 1.0  # between two looks at workers and nodes
SERVICE = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}


class Training:
    """One driver's training of one run: ingest, feed, board and workers."""

    def __init__(self, config: Config, opened: OpenStore, lease: Lease, session: Session, *, follow: bool) -> None:
        self.config, self.session, self.attempt = config, session, secrets.token_hex(4)
        self.placement = placement(config, session)
        self.num_nodes = len(session.nodes())
        board = ray.remote(Board).options(**SERVICE)
        self.board = board.remote(config.store, config.name, config.checkpoint.keep, lease)
        settings = feed_settings(config, opened.tokenizer.document_token, follow=follow)
        self.feed = ray.remote(Feed).options(**SERVICE, max_concurrency=16).remote(settings)
        self.ingest = ingest_task.remote(config.store, opened.settings, opened.tokenizer_json, follow, self.board)
        job = {
            "config": config.model_dump_json(),
            "tokenizer": opened.tokenizer_json,
            "feed": self.feed,
            "board": self.board,
        }
        self.trainer = FittingTrainer(
            train_loop,
            session=session,
            requested=config.engine.workers,
            batch_rows=shape(config).batch_rows,
            train_loop_config=job,
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
        self.health = Health()
        self.watched_at = 0.0
        self.read: tuple[str, int] = ("", 0)
        self.last_window: int | None = None  # once ingest is done: the window it ended with
        self.stopping_since: float | None = None
        self.nodes = NodeWatch(config, shape(config).batch_rows)
        self.thread = threading.Thread(target=self._fit, daemon=True, name="train")

    def events(self, stopped: threading.Event, every_seconds: float = 0.25) -> Iterator[Event]:
        """Train, and yield what happens, until the workers are done; then look at `failure`.

        Every wish is told again at each turn, because an actor that was restarted has forgotten it.
        """
        self.thread.start()
        while self.thread.is_alive():
            yield from self._new_events()
            self._watch_ingest()
            self._watch_workers()
            if (stopped.is_set() or self.failure) and not self._stop():
                return
            self.thread.join(every_seconds)
        yield from self._new_events()

    def _stop(self) -> bool:
        """Ask for a checkpoint and the end; False once that was asked in vain for too long."""
        self.stopping_since = self.stopping_since or time.monotonic()
        self.board.ask.remote(STOP)
        return time.monotonic() - self.stopping_since < STOP_SECONDS

    def sample_fingerprint(self, window: int) -> str:
        """Fingerprint of the reservoir as of a window."""
        return str(ray.get(self.feed.fingerprint.remote(window)))

    def close(self) -> None:
        """End the actors and what still ingests."""
        ray.cancel(self.ingest, force=True)
        for actor in (self.feed, self.board):
            ray.kill(actor)

    def _fit(self) -> None:
        try:
            self.trainer.fit()
        except Exception as error:  # noqa: BLE001 - whatever ended training, the driver has to know
            self.failure = self.failure or last_line(error)

    def _new_events(self) -> list[Event]:
        events, *read = self._heard(self.board.read.remote(*self.read))
        self.read = (read[0], read[1])
        for event in events:
            self.nodes.update(event)
            if hopeless := self.health.update(event):
                self.failure = self.failure or hopeless
        return list(events)

    def _heard(self, answer: Any) -> Any:
        """What the board answers; one that is silent for too long is started again, and then does what it was asked.

        Without it nothing is committed and nobody hears a wish to stop, though workers and heart go on.
        """
        while True:
            try:
                return ray.get(answer, timeout=self.config.engine.hang_seconds)
            except ray.exceptions.GetTimeoutError:
                logger.warning("the board of run %s does not answer and is started again", self.config.name)
                ray.kill(self.board, no_restart=False)

    def _watch_workers(self) -> None:
        """Now and then: are the workers hung, and are nodes about to leave, or new ones there?"""
        if time.monotonic() - self.watched_at < WATCH_SECONDS:
            return
        self.watched_at = time.monotonic()
        self.board.end_hung_workers.remote(self.config.engine.hang_seconds)
        wish, why = self.nodes.look(
            self.session.nodes(), self.session.draining() & self._heard(self.board.where.remote())
        )
        if wish != GO:
            self.board.ask.remote(wish)
        if why:
            self.board.post.remote([Warned(text=why)])

    def _watch_ingest(self) -> None:
        """Tell the feed when the sources are drained, or that ingest failed."""
        if self.last_window is None and ray.wait([self.ingest], timeout=0)[0]:
            try:
                self.last_window = ray.get(self.ingest)
            except ray.exceptions.RayError as error:
                self.last_window = -1
                self.failure = self.failure or f"ingest failed: {last_line(error)}"
        if self.failure:
            self.feed.fail.remote(self.failure)
        elif self.last_window is not None:
            self.feed.drained.remote(self.last_window)


def feed_settings(config: Config, document_token: int, *, follow: bool = False) -> FeedSettings:
    """Everything of a configuration that decides a run's rounds."""
    return FeedSettings(
        store=config.store,
        run=config.name,
        rounds=config.round,
        reservoir=config.reservoir,
        shape=shape(config),
        seed=config.seed,
        document_token=document_token,
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
