"""Is a run that is judged as it goes, and ended within a judgement, the run that was never judged, bit by bit?

The product's worker, feed, coordinator and engine in one process: only Ray's actors and its worker group are left out.
"""

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
import ray

from cluster.runtime.actors import Local
from cluster.storage.store import Store
from data_ops.documents.tokenizer import byte_tokenizer
from data_ops.lake.lake import Lake
from data_ops.sampling.shard import Shard
from models.engine.checkpoint import weights_sha256
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.config.schema import Config
from ray_jobs.store.lease import Heart, acquire
from ray_jobs.store.paths import branches_of
from ray_jobs.training.actors.commit_coordinator import Claim
from ray_jobs.training.actors.coordinator import Coordinator
from ray_jobs.training.actors.feed import Feed
from ray_jobs.training.events import BranchBegun, CandidateMade, Event, StepDone
from ray_jobs.training.group.training import feed_settings
from ray_jobs.training.worker.loop import Worker
from ray_jobs.training.worker.rank import Rank, WorkerJob
from tests.support.lakes import fill_lake, make_lake

RUN, LAST = "news", 5
SETTINGS: dict[str, Any] = {
    "name": RUN,
    "seed": 3,
    "tokenizer": {"kind": "bytes"},
    "reservoir": {"capacity": 200, "shards": 1},
    "round": {"tokens": 512, "replay_share": 0.4},
    "model": {"layers": 1, "width": 32, "heads": 2, "row_tokens": 32},
    "engine": {"batch_tokens": 128, "precision": "fp32", "zero_stage": 2},
    "optim": {"lr": 3e-3, "schedule": {"warmup_tokens": 256, "decay": 0.5}},
}


class KilledError(RuntimeError):
    """The process is gone."""


class OneAtATime(Local[Coordinator]):
    """The coordinator, called by the writer's thread too, as an actor is: one call at a time."""

    lock = threading.Lock()

    def call(self, method: Any, /, *arguments: Any) -> Any:
        with self.lock:
            return super().call(method, *arguments)


def life(store: Store, judge: dict[str, str], killed_at: int = 0, **others: Any) -> list[Event]:
    """One start of the run, to its end or until it is killed within the so-manieth step of a decay; its events.

    Where there is no judgement, the steps are those of the main line, of which one must be committed before.
    """
    config = Config.model_validate({**SETTINGS, **others, "store": store.uri, "judge": judge})
    tokenizer = byte_tokenizer()
    feed = Feed(feed_settings(config, tokenizer), lambda *given: Local(Shard(*given)))
    feed.drained(LAST)
    heart = Heart(store, acquire(store, RUN))
    coordinator = Coordinator(store.uri, Claim(RUN, heart.lease, 2))
    context = SimpleNamespace(current_actor=None, get_node_id=lambda: "here")
    with patch.object(ray, "get_runtime_context", lambda: context):
        job = WorkerJob(config.model_dump_json(), tokenizer.to_json(), Local(feed), OneAtATime(coordinator))
        rank = Rank(job, 0, 1)
    step, decayed, begun = rank.engine.step, 0, rank.position.step

    def watched(*given: Any) -> Any:
        nonlocal decayed
        counts = rank.line.is_branch or not judge
        decayed += counts
        if counts and decayed == killed_at:
            while not judge and (commits.commits(store, RUN) or [0])[-1] <= begun:
                time.sleep(0.01)  # the writer's thread is at it
            raise KilledError
        return step(*given)

    rank.engine.step = watched  # type: ignore[method-assign]
    try:
        Worker(rank).train()
    except KilledError:
        assert rank.reporter is not None
        rank.reporter.flush()
        if rank.line.saver.thread is not None:  # of a process that is killed no thread writes on while the next starts
            rank.line.saver.thread.join()
    finally:
        rank.engine.close()
        heart.release()
    return list(coordinator.log.events)


def bits(store: Store, run: str = RUN) -> dict[str, str]:
    """Hash the weights of what is kept of a run."""
    found = {}
    for step in commits.commits(store, run):
        files = commits.load(store, run, step).files
        found[f"{run} {step}"] = weights_sha256([Path(store.uri) / file.path for file in files])
    return found


@pytest.fixture
def stores(tmp_path: Path) -> list[Store]:
    made = []
    for name in ("calm", "judged", "killed"):
        lake: Lake = make_lake(tmp_path / name)
        fill_lake(lake, [(["kept"] * 9 + ["held_out"]) * 8] * (LAST + 1))
        made.append(lake.store)
    return made


@pytest.mark.slow
def test_judgements_and_kills_within_them_leave_the_bits_of_the_main_line_and_of_candidates(
    stores: list[Store],
) -> None:
    calm, judged, killed = stores
    every = {"every": "2 rounds", "candidate": "best_of"}
    life(calm, {})
    told = life(judged, every)
    assert sum(isinstance(event, CandidateMade) for event in told) >= 3
    for step in (1, 2, 1):
        again = life(killed, every, killed_at=step)
        assert isinstance(next(e for e in reversed(again) if isinstance(e, BranchBegun | CandidateMade)), BranchBegun)
    life(killed, every)
    ends = [commits.latest(store, RUN) for store in stores]
    assert len({end.step for end in ends if end}) == 1
    assert list(bits(calm).values())[-1] == list(bits(judged).values())[-1] == list(bits(killed).values())[-1]
    left = branches_of(judged, RUN)
    assert left == branches_of(killed, RUN) and len(left) == 2, "older candidates are gone"
    for left_at in left:
        candidates = bits(judged, f"{RUN}@{left_at:08d}")
        assert len(candidates) == 2, "the average, and the decay"
        assert candidates == bits(killed, f"{RUN}@{left_at:08d}")


@pytest.mark.slow
def test_a_run_with_heads_for_further_tokens_that_is_killed_goes_on_with_its_bits(stores: list[Store]) -> None:
    model = {**SETTINGS["model"], "layers": 2, "mtp": {"tokens": 3, "weights": 0.5}}
    often = {"model": model, "checkpoint": {"every_seconds": 1e-3}}
    calm, _, killed = stores
    told = [event for event in life(calm, {}, **often) if isinstance(event, StepDone)]
    assert all(len(event.ahead_losses) == 2 and None not in event.ahead_losses for event in told)
    committed = []
    for step in (3, 4):
        life(killed, {}, killed_at=step, **often)
        committed.append(commits.commits(killed, RUN))
    assert committed[0] and committed[1][-1] > committed[0][-1], "each goes on from what the one before committed"
    again = [event for event in life(killed, {}, **often) if isinstance(event, StepDone)]
    assert again[0].step == committed[1][-1] + 1
    assert [(e.loss, e.ahead_losses) for e in again] == [(e.loss, e.ahead_losses) for e in told[-len(again) :]]
    assert list(bits(calm).values())[-1] == list(bits(killed).values())[-1]
