"""A small real store, made without Ray by the product's own functions: every kind of file that a store has."""

import json
from pathlib import Path

import numpy as np
import torch

from cluster.storage.state import write_json
from cluster.storage.store import Store
from cluster.telemetry.json_lines import JsonLines
from data_ops.audit.index import KNOWN_FATES
from data_ops.index.folder import IndexFolder
from data_ops.index.kept_index import WINDOW_WEIGHT
from data_ops.index.known_ids import KnownIds
from data_ops.ingest.seen import Histories
from data_ops.kernels.arrays import ids_to_array
from data_ops.lake.erase import erase
from data_ops.lake.lake import Lake
from data_ops.lake.log import text_of
from data_ops.rounds.manifest import Shape
from data_ops.rounds.masking import RowObjective
from data_ops.rounds.round_file import round_file
from models.engine import checkpoint
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.ledger import record
from ray_jobs.checkpoints.position import Position, StoredFile, TrainingState
from ray_jobs.config.schema import Config
from ray_jobs.evaluation.decision import Decision, SliceResult
from ray_jobs.evaluation.held_out import held_out
from ray_jobs.evaluation.scores import with_nats, write_scores
from ray_jobs.ingest.opening import OpenStore, open_store
from ray_jobs.registry.champion import Verdict, promote
from ray_jobs.registry.lineage import tracking_id
from ray_jobs.store.lease import Heart, Lease, acquire
from ray_jobs.store.paths import checkpoint_folder, run_path
from tests.support.log_without_ray import Planner, plan_window, run_window
from tests.support.runs import write_documents

RUN = "small"
SHAPE = Shape(row_tokens=64, batch_rows=4)


def small_config(folder: Path) -> Config:
    """The configuration of the store that `make_store` makes in a folder."""
    sources = {"wire": {"kind": "files", "path": f"{folder}/corpus/*.jsonl", "text": "body", "time": "at"}}
    return Config.model_validate(
        {
            "name": RUN,
            "store": f"{folder}/lake",
            "seed": 7,
            "held_out": 0.2,
            "sources": sources,
            "window": {"max_documents": 12},
            "tokenizer": {"kind": "bytes"},
            "round": {"tokens": 4096, "replay_share": 0.25},
            "model": {"layers": 1, "width": 32, "heads": 2, "row_tokens": 64},
            "engine": {"batch_tokens": 256, "micro_batch_rows": 4},
        }
    )


def make_store(folder: Path) -> Config:
    """Make it: windows, a forgotten document, rounds and their files, checkpoints, figures, a champion, an index."""
    config = small_config(folder)
    write_documents(folder / "corpus" / "a.jsonl", 60)
    opened = open_store(config)
    store, lake = opened.store, opened.lake
    lease = acquire(store, RUN)
    heart = Heart(store, lease)
    write_json(store, run_path(RUN, "config.json"), config.model_dump(mode="json"))
    tracking_id(store, RUN)
    seen = Histories(lake, opened.settings.curate.remembered)
    while (window := plan_window(lake, opened.settings)) is not None:
        lake.commit_window(*run_window(lake, opened.settings, window, seen))
        if window.window == 2:
            _sum_up(lake)
    kept = lake.documents(0, 0, ["id"], ["kept"])["id"]
    lake.forget(ids_to_array(kept.slice(0, 1)))
    erase(lake)
    planner, number = Planner(lake, RUN, config.round, SHAPE, config.seed), 0
    while (manifest := planner.plan(number, True, lake.add_round)) is not None and number < 2:
        text = text_of(lake, manifest.fresh, manifest.replay, [])
        round_file(store, RUN, number).write(manifest, text)
        number += 1
    done = [_commit(store, lake, opened, lease, step) for step in (3, 6)]
    data = held_out(
        lake,
        lake.last_window(),
        config.evaluate,
        config.model.row_tokens,
        RowObjective(opened.tokenizer.document_token),
    )
    write_scores(store, RUN, "00000006", with_nats(data, np.linspace(1.0, 9.0, data.table.num_rows)))
    details = {
        "weights_sha256": checkpoint.weights_sha256([Path(str(store.local_path(done[-1].files[0].path)))]),
        "sample_fingerprint": "0" * 16,
        "last_window": lake.last_window(),
        "tokenizer": opened.tokenizer.fingerprint,
    }
    keep_index(lake)
    better = SliceResult("wire/2026-01", "fresh", 12, 900, 8.0, 7.5, -0.5, -0.6, -0.4, "better")
    decision = Decision("promoted", ["it is better"], [better], fresh=better, against="the untrained model")
    promote(store, done[-1], Verdict(decision, None, None, done[-1].name), details)
    lines = JsonLines(store, run_path(RUN, "metrics.jsonl"))
    for step in range(6):
        lines.log({"time": 1.5, "event": "warning", "text": f"step {step} was looked at"})
    lines.close()
    write_json(store, run_path(RUN, "summary.json"), {"steps": 6, "loss": {"first": 5.5, "last": 5.25}})
    heart.release()
    return config


def keep_index(lake: Lake) -> None:
    """Write the ids known to three windows as two files, as a store of a million documents does."""
    known = KnownIds(IndexFolder(lake.store), lake.mark, 2 * WINDOW_WEIGHT)
    for window in range(min(3, lake.last_window() + 1)):
        known.add_new(ids_to_array(lake.documents(window, window, ["id"], KNOWN_FATES)["id"]))
        known.keep(window)


def _sum_up(lake: Lake) -> None:
    """Let the log be summed up here, as it is every 50 commits, so that what follows is read from its entries."""
    for name in ("documents", "windows"):
        table = lake.table(name)
        assert table is not None
        table.create_checkpoint()


def _commit(store: Store, lake: Lake, opened: OpenStore, lease: Lease, step: int) -> commits.Commit:
    """A checkpoint of one parameter, written by the product's own writer."""
    path = f"{checkpoint_folder(RUN, step, 'a1')}/rank-00000.safetensors"
    local = store.local_path(path)
    assert local is not None
    local.parent.mkdir(parents=True)
    values = torch.arange(16, dtype=torch.float32) + step
    tensors = {f"w|{kind}": values + place for place, kind in enumerate(checkpoint.KINDS)}
    about = {"format": checkpoint.FORMAT, "rank": "0", "world_size": "1", "steps": str(step)}
    about |= {"starts": json.dumps({"w": 0}), "shapes": json.dumps({"w": [4, 4]})}
    written = checkpoint.Snapshot(tensors, about).write(local)
    file = StoredFile(path, written.size_bytes, written.sha256)
    state = TrainingState(
        position=Position(step_in_round=step, step=step, tokens=256 * step),
        probe_loss=5.5,
        precision="fp32",
        model=small_config(Path("/")).model.model_dump(mode="json"),
        tokenizer=opened.tokenizer.fingerprint,
        lease=lease.number,
    )
    done = commits.Commit(RUN, step, 0, step, (file,), state)
    assert commits.publish(store, done)
    record(lake, done, lease)
    return done
