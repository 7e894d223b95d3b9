"""How is a worker group started, watched and brought to an end?

`Training` holds the run's three actors and a Ray Train controller in a thread. The driver pumps events out of the board
and hands the wish to stop in. Ray Train restarts and resizes workers; what is committed, and so where a started
worker begins, is our manifest's word alone.
"""

import logging
import os
import secrets
import threading
from collections.abc import Iterator
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from cluster.session import Session
from cluster.topology import Placement, place
from data_ops.rounds import Shape
from ray_jobs.board import Board
from ray_jobs.commit import run_path
from ray_jobs.config import Config
from ray_jobs.feed import Feed, FeedSettings
from ray_jobs.ingest import OpenStore, ingest_task
from ray_jobs.lease import Lease
from ray_jobs.worker import train_loop

logger = logging.getLogger(__name__)

MAX_FAILURES = 8  # worker-group restarts in one driver's life; a node's death is charged here too
SERVICE = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}


class Training:
    """One driver's training of one run: ingest, feed, board and workers."""

    def __init__(self, config: Config, opened: OpenStore, lease: Lease, session: Session, *, follow: bool) -> None:
        self.config, self.attempt = config, secrets.token_hex(4)
        self.placement = placement(config, session)
        self.num_nodes = len(session.resources())
        board = ray.remote(Board).options(**SERVICE)
        self.board = board.remote(config.store, config.name, config.checkpoint.keep, lease)
        settings = FeedSettings(
            store=config.store,
            run=config.name,
            rounds=config.round,
            reservoir=config.reservoir,
            shape=shape(config),
            seed=config.seed,
            document_token=opened.tokenizer.document_token,
            follow=follow,
        )
        self.feed = ray.remote(Feed).options(**SERVICE, max_concurrency=16).remote(settings)
        self.ingest = ingest_task.remote(
            config.store, opened.settings, opened.tokenizer_json, follow, self.board
        )
        job = {
            "config": config.model_dump_json(),
            "tokenizer": opened.tokenizer_json,
            "feed": self.feed,
            "board": self.board,
        }
        self.trainer = TorchTrainer(
            train_loop,
            train_loop_config=job,
            torch_config=TorchConfig(backend="nccl" if self.placement.gpus_per_worker else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=self.placement.workers,
                use_gpu=bool(self.placement.gpus_per_worker),
                resources_per_worker=self.placement.resources_per_worker,
            ),
            run_config=RunConfig(
                name=self.attempt,
                storage_path=f"{config.store}/{run_path(config.name, 'ray')}",
                failure_config=FailureConfig(max_failures=MAX_FAILURES),
            ),
        )
        self.failure: str | None = None
        self.last_fault: str | None = None
        self.read = 0
        self.drained = False
        self.thread = threading.Thread(target=self._fit, daemon=True, name="train")

    def events(self, every_seconds: float = 0.25) -> Iterator[dict[str, Any]]:
        """Train, and yield what happens, until the workers are done; then look at `failure`."""
        self.thread.start()
        while self.thread.is_alive():
            yield from self._new_events()
            self._watch_ingest()
            self.thread.join(every_seconds)
        yield from self._new_events()

    def stop(self) -> None:
        """Ask for a checkpoint and the end."""
        self.board.stop.remote()

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
        except (ray.train.TrainingFailedError, ray.exceptions.RayError, OSError, ValueError) as error:
            self.failure = self.failure or _last_line(error)

    def _new_events(self) -> list[dict[str, Any]]:
        events, self.read = ray.get(self.board.read.remote(self.read))
        for event in events:
            if event["event"] == "step":
                self.last_fault = None
            elif event["event"] == "fault":
                self._watch_fault(event["text"])
        return list(events)

    def _watch_fault(self, text: str) -> None:
        """A fault that comes again before a single step is no accident: stop, for a restart would not help."""
        if self.last_fault == text and self.failure is None:
            self.failure = text
            self.stop()
        self.last_fault = text

    def _watch_ingest(self) -> None:
        """Tell the feed when the sources are drained, or that ingest failed."""
        if self.drained or not ray.wait([self.ingest], timeout=0)[0]:
            return
        self.drained = True
        try:
            ray.get(self.feed.drained.remote(ray.get(self.ingest)))
        except ray.exceptions.RayTaskError as error:
            self.failure = f"ingest failed: {_last_line(error)}"
            ray.get(self.feed.fail.remote(self.failure))


def shape(config: Config) -> Shape:
    """The shape of a step."""
    return Shape(config.model.row_tokens, config.engine.batch_rows(config.model.row_tokens))


def placement(config: Config, session: Session) -> Placement:
    """How the workers sit on the cluster; ValueError says what fits instead."""
    return place(config.engine.workers, session.resources(), shape(config).batch_rows)


def _last_line(error: BaseException) -> str:
    """The sentence that matters in a remote traceback."""
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
