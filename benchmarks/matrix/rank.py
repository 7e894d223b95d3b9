"""What does one rank of the matrix do? The product's own worker, in a plain process, and a note of what it trained.

`ray_jobs.training.worker.loop.Worker` runs as it is. Ray Train's worker group is replaced by a process that may be
forked cheaply, and Ray's calls to the feed and the coordinator by a socket to the process that holds them
(`benchmarks.matrix.desk`). What was trained is read off the rows that reach the engine, so it does not rest on what the
planner believes.
"""

import hashlib
import json
import os
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Client
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import ray
import torch
import torch._dynamo  # 2 s that every rank would else spend when its optimizer is made
import torch.distributed as dist

from cluster.rows import Rows
from models.engine import zero

zero.import_deepspeed()
from ray_jobs.training.worker.loop import Worker  # noqa: E402  (behind DeepSpeed, which must be imported in its own way)
from ray_jobs.training.worker.rank import Rank, WorkerJob  # noqa: E402


class Job(NamedTuple):
    """What a rank is told."""

    world: int
    config: str
    tokenizer: str
    base: str | None  # checkpoint that the run begins with
    desk: str  # address of the process that holds feed and coordinator
    notes: Path  # folder: one file a rank
    hold_at: int  # global step behind which the rank waits for its end; 0: never


def run_rank(rank: int, job: Job) -> None:
    """Train as rank `rank` until the end of the run, or until killed."""
    os.environ["LOCAL_RANK"] = str(rank)
    rendezvous = f"file://{job.notes}/rendezvous"
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=job.world)
    calls = Calls(job.desk)
    ray.get_runtime_context = lambda: SimpleNamespace(current_actor=None, get_node_id=lambda: "here")
    actors = Elsewhere(calls, "feed"), Elsewhere(calls, "coordinator")
    ours = Rank(WorkerJob(job.config, job.tokenizer, *actors, job.base), rank, job.world)
    with (job.notes / f"{rank}.jsonl").open("w", buffering=1) as notes:
        note = partial(print, file=notes)
        note(json.dumps({"start": ours.position.step}))
        step = ours.engine.step

        def noted(rows: Rows, predictions: int, *rest: float) -> Any:
            result = step(rows, predictions, *rest)
            note(json.dumps({"pieces": pieces(rows), "loss": result.loss, "skipped": result.skipped}))
            if ours.position.step + 1 == job.hold_at:
                calls("desk", "reached")  # never answered
            return result

        ours.engine.step = noted
        Worker(ours).train()
    dist.destroy_process_group()


def pieces(rows: Rows) -> list[str]:
    """Name every piece of a document in these rows by what it predicts."""
    found = []
    for labels, segments in zip(rows.labels, rows.segments, strict=True):
        found += [name_of(labels[segments == segment]) for segment in range(segments.max() + 1)]
    return found


def name_of(labels: Any) -> str:
    """Hash the labels of one piece."""
    return hashlib.blake2b(np.asarray(labels, np.int32).tobytes(), digest_size=12).hexdigest()


class Calls:
    """Calls to the objects of another process; each thread has a connection of its own."""

    def __init__(self, address: str) -> None:
        self.address, self.local = address, threading.local()

    def __call__(self, name: str, method: str, *arguments: Any) -> Any:
        """Call and wait for the answer; what is raised there is raised here."""
        if not hasattr(self.local, "connection"):
            self.local.connection = Client(self.address)
        self.local.connection.send((name, method, arguments))
        error, answer = self.local.connection.recv()
        if error is not None:
            raise error
        return answer


class Elsewhere:
    """An object of the desk as a `Handle`; a call is answered before it returns."""

    def __init__(self, calls: Calls, name: str) -> None:
        self._calls, self._name = calls, name

    def call(self, method: Callable[..., Any], /, *arguments: Any) -> Any:
        """Call a method of the object."""
        answer = self._calls(self._name, method.__name__, *arguments)
        return SimpleNamespace(get=lambda *_: answer, is_there=lambda: True)


torch.set_num_threads(1)
