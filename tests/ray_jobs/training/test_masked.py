"""Hidden tokens in a run: judged alike at each checkpoint, and the same after SIGKILL and with other workers."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow.compute as pc
import pytest
import ray
import yaml

from cluster.runtime.actors import Local
from cluster.storage.store import Store
from data_ops.documents.tokenizer import byte_tokenizer
from data_ops.lake.lake import Lake
from data_ops.sampling.shard import Shard
from models.config import Objective
from models.engine.checkpoint import weights_sha256
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.config.schema import Config
from ray_jobs.evaluation.held_out import held_out
from ray_jobs.evaluation.row_objective import judged_objective, training_objective
from ray_jobs.evaluation.scores import read_scores, rows_of
from ray_jobs.store.lease import Heart, acquire
from ray_jobs.training.actors.commit_coordinator import Claim
from ray_jobs.training.actors.coordinator import Coordinator
from ray_jobs.training.actors.feed import Feed
from ray_jobs.training.group.training import feed_settings
from ray_jobs.training.worker.loop import Worker
from ray_jobs.training.worker.rank import Rank, WorkerJob
from tests.ray_jobs.training.worker.test_rank import KilledError, OneAtATime
from tests.support.imports.late import late
from tests.support.lakes import fill_lake, make_lake
from tests.support.runs import RECIPE, end_all, events, finish, kill, last_step, start, wait_for, write_documents

late("transformers")
RUN, LAST = "news", 5
TOKENIZER = byte_tokenizer().with_mask()
SETTINGS: dict[str, Any] = {
    "name": RUN,
    "seed": 3,
    "tokenizer": {"kind": "bytes"},
    "reservoir": {"capacity": 200, "shards": 1},
    "round": {"tokens": 512, "replay_share": 0.4},
    "model": {"kind": "encoder", "layers": 1, "width": 32, "heads": 2, "row_tokens": 32},
    "engine": {"batch_tokens": 128, "precision": "fp32", "zero_stage": 2},
    "optim": {"lr": 3e-3, "schedule": {"warmup_tokens": 256, "decay": 0.5}},
}


def config_of(store: Store, **model: object) -> Config:
    return Config.model_validate({**SETTINGS, "store": store.uri, "model": {**SETTINGS["model"], **model}})


def life(store: Store, killed_at: int = 0) -> None:
    """One start of the run, to its end or until it is killed at the so-manieth step of this life."""
    config = config_of(store)
    feed = Feed(feed_settings(config, TOKENIZER), lambda *given: Local(Shard(*given)))
    feed.drained(LAST)
    heart = Heart(store, acquire(store, RUN))
    coordinator = Coordinator(store.uri, Claim(RUN, heart.lease, 2))
    context = SimpleNamespace(current_actor=None, get_node_id=lambda: "here")
    with patch.object(ray, "get_runtime_context", lambda: context):
        rank = Rank(
            WorkerJob(config.model_dump_json(), TOKENIZER.to_json(), Local(feed), OneAtATime(coordinator)), 0, 1
        )
    step, steps = rank.engine.step, 0

    def watched(*given: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == killed_at:
            rank.line.saver.finish(rank.position)
        if steps == killed_at + 2 and killed_at:
            raise KilledError  # what was trained behind the commit is lost, and trained again
        return step(*given)

    rank.engine.step = watched  # type: ignore[method-assign]
    try:
        Worker(rank).train()
    except KilledError:
        pass
    finally:
        rank.engine.close()
        heart.release()


def weights(store: Store) -> str:
    last = commits.latest(store, RUN)
    assert last is not None
    return weights_sha256([Path(store.uri) / file.path for file in last.files])


def store_of(folder: Path) -> Store:
    lake: Lake = make_lake(folder)
    fill_lake(lake, [(["kept"] * 9 + ["held_out"]) * 8] * (LAST + 1))
    return lake.store


@pytest.mark.slow
def test_a_run_ends_with_the_same_bits_after_kills_and_is_always_asked_for_the_same_tokens(tmp_path: Path) -> None:
    straight, killed = store_of(tmp_path / "straight"), store_of(tmp_path / "killed")
    life(straight)
    for step in (3, 4):
        life(killed, killed_at=step)
    life(killed)
    assert weights(straight) == weights(killed)
    names = sorted(int(path.rpartition("/")[2][:8]) for path in straight.list(f"runs/{RUN}/evaluations"))
    before, after = (read_scores(straight, RUN, f"{name:08d}") for name in (names[0], names[-1]))
    after = after.filter(pc.is_in(after["id"], before["id"].combine_chunks()))
    assert before["id"].to_pylist() == after["id"].to_pylist()
    assert before["num_bytes"].to_pylist() == after["num_bytes"].to_pylist(), "the same tokens are hidden"
    assert not np.array_equal(before["nats"].to_numpy(), after["nats"].to_numpy())


@pytest.mark.slow
def test_replay_is_hidden_anew_each_round_and_held_out_text_never(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    config = config_of(store)
    feed = Feed(feed_settings(config, TOKENIZER), lambda *given: Local(Shard(*given)))
    feed.drained(LAST)
    seen: dict[bytes, list[tuple[int, ...]]] = {}
    for number in range(3):
        notice = feed.round(number)
        assert notice is not None
        layout = feed.prepared[number].layout
        found: dict[int, list[int]] = {}
        for step in range(notice.steps):
            whole = feed.batch(number, step, 0, 1)
            halves = [feed.batch(number, step, rank, 2) for rank in range(2)]
            both = [np.concatenate([getattr(half.rows, name) for half in halves]) for name in ("inputs", "labels")]
            assert np.array_equal(both[0], whole.rows.inputs) and np.array_equal(both[1], whole.rows.labels)
            assert whole.predictions == (whole.rows.labels >= 0).sum() == halves[0].predictions < whole.positions
            pieces = layout._segments(layout.rows_of(step))
            for row, begin, document, first, length in zip(*pieces[:5], strict=True):
                labels = whole.rows.labels[row, begin : begin + length]
                found.setdefault(int(document), []).extend((np.flatnonzero(labels >= 0) + first).tolist())
        for document, places in found.items():
            key = layout.manifest.documents.ids[document].tobytes()
            seen.setdefault(key, []).append(tuple(sorted(places)))
    again = [places for places in seen.values() if len(places) > 1]
    assert again and sum(len(set(places)) > 1 for places in again) > 0.9 * len(again)
    lake, data = Lake(store), []
    for model in (config.model, config_of(store, masking={"share": 0.4}, width=64).model):
        asked = held_out(lake, LAST, config.evaluate, 32, judged_objective(model, TOKENIZER))
        data.append(rows_of(asked, np.arange(asked.packing.num_rows), asked.packing.num_rows))
        assert (asked.table["num_bytes"].to_numpy() >= 1).all()
        assert sum(asked.table["num_bytes"].to_pylist()) < 0.4 * sum(
            lake.documents(0, LAST, ["num_bytes"], ["held_out"])["num_bytes"].to_pylist()
        )
    assert np.array_equal(data[0].labels, data[1].labels) and np.array_equal(data[0].inputs, data[1].inputs)
    rates = training_objective(config_of(store, masking={"share": 0.4}).model, TOKENIZER, 3).masking
    assert rates is not None and rates.rates.chosen == 0.4 and config.model.learns == Objective.MASKED


@pytest.fixture(scope="module")
def _leave_nothing_running() -> Iterator[None]:
    """A failed test must not leave a run behind."""
    yield
    end_all()


@pytest.mark.long  # minutes; the test of the same bits above kills within one process
@pytest.mark.ray
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("_leave_nothing_running")
def test_killed_at_one_and_at_two_workers_it_goes_on_with_the_same_losses(tmp_path: Path) -> None:
    recipe = yaml.safe_load(RECIPE)
    recipe["model"] |= {"kind": "encoder", "row_tokens": 64}
    recipe["sources"]["wire"]["objective"] = "masked"
    text, losses = yaml.safe_dump(recipe), []
    for name, lives in {"straight": (1,), "killed": (1, 2, 1)}.items():
        folder = tmp_path / name
        write_documents(folder / "corpus/a.jsonl", 90)
        for at, workers in enumerate(lives):
            driver = start(folder, f"engine.workers={workers}", recipe=text)
            if at < len(lives) - 1:
                wait_for(folder, driver, lambda told, at=at: last_step(told) >= 5 * (at + 1))
                kill(driver)
                continue
            code, summary = finish(driver)
            assert code == 0, (folder / "stderr.txt").read_text()[-3000:]
        documents = summary["documents"]
        assert documents["read"] == 90 == documents["trained"] + documents["held_out"] and summary["ok"]
        assert summary["measure"] == "masked bits/byte"
        slices = summary["bits_per_byte"].values()
        assert all(found["after"] < 0.9 * found["before"] for found in slices), "it learns what it never trained on"
        steps = {event["step"]: event for event in events(folder) if event["event"] == "step"}
        assert all(0 < event["predictions"] < 0.3 * event["positions"] for event in steps.values())
        losses.append([steps[step]["loss"] for step in sorted(steps)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
