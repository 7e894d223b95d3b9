"""Which checkpoint is in service, and when does another take its place?

The champion is one small file, replaced atomically; every decision is kept beside it with its reasons, so it can be
explained and moved back. `judge` scores candidate and champion on the same held-out documents and asks the gate.
"""

import json
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from cluster.storage import Store
from data_ops.lake import Lake
from data_ops.rounds import Manifest
from data_ops.tokenizer import Tokenizer
from models import scoring
from models.checkpoint import read_full_weights
from ray_jobs import commit as commits
from ray_jobs.board import read_champion
from ray_jobs.config import Config
from ray_jobs.evaluate import PERIODS, held_out, read_scores, score, with_nats, write_scores
from ray_jobs.gate import Decision, decide

logger = logging.getLogger(__name__)


def judge(config: Config, tokenizer_json: str, candidate: commits.Commit) -> tuple[Decision, dict[str, pa.Table]]:
    """Score candidate and champion (or the untrained model) on all held-out documents, and decide."""
    store = Store.open(config.store)
    champion = read_champion(store)
    lake = Lake(store)
    reference = champion["checkpoint"] if champion and champion["checkpoint"] != candidate.name else None
    after = scores_of(config, tokenizer_json, candidate.name)
    before = scores_of(config, tokenizer_json, reference)
    decision = decide(
        after,
        before if reference else None,
        config.gate,
        fresh_slices=fresh_slices(lake, config, reference and commits.by_name(store, reference)),
        untrained=None if reference else before,
    )
    return decision, {"before": before, "after": after}


def scores_of(config: Config, tokenizer_json: str, name: str | None) -> pa.Table:
    """Per-document figures of a checkpoint (None: the untrained model) on every held-out document of now.

    What a run scored itself at that step is used if it covers the same documents; else a Ray task scores it.
    """
    store = Store.open(config.store)
    lake = Lake(store)
    last = lake.last_window()
    if name is not None:
        run, _, step = name.rpartition("/")
        tokenizer = Tokenizer.from_json(tokenizer_json)
        wanted = held_out(lake, last, config.evaluate, config.model.row_tokens, tokenizer.document_token)
        try:
            found = read_scores(store, run, step)
        except FileNotFoundError:
            found = None
        if found is not None and found["id"].combine_chunks().equals(wanted.table["id"].combine_chunks()):
            return found
    gpus = int(ray.cluster_resources().get("GPU", 0) > 0)
    task = ray.remote(num_cpus=0 if gpus else 1, num_gpus=gpus, max_retries=3)(_score_task)
    table = ray.get(task.remote(config.model_dump_json(), tokenizer_json, name, last))
    if name is not None:
        write_scores(store, run, step, table)
    return table


def _score_task(config_json: str, tokenizer_json: str, name: str | None, last_window: int) -> pa.Table:
    config, tokenizer = Config.model_validate_json(config_json), Tokenizer.from_json(tokenizer_json)
    store = Store.open(config.store)
    model_config, weights = config.model, None
    if name is not None:
        commit = commits.by_name(store, name)
        model_config = type(config.model)(**commit.state["model"])
        with tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
            weights = read_full_weights(commits.fetch(store, commit, Path(scratch)))
    scorer = scoring.scorer(model_config, tokenizer.vocab_size, config.seed, weights)
    data = held_out(
        Lake(store), last_window, config.evaluate, model_config.row_tokens, tokenizer.document_token
    )
    return with_nats(data, score(data, scorer))


def fresh_slices(lake: Lake, config: Config, champion: commits.Commit | None) -> set[str]:
    """Slices most of whose kept documents the champion had not been given; all of them without a champion."""
    table = lake.documents(0, lake.last_window(), ["source", "event_time", "window", "position"], ["kept"])
    end: tuple[int, ...] = (-1, 0)
    if champion is not None:
        rows = lake.rounds(champion.run, champion.round if champion.step_in_round else champion.round - 1)
        end = tuple(Manifest.from_row(rows, 0).end) if rows.num_rows else end
    windows, positions = table["window"].to_numpy(), table["position"].to_numpy()
    new = (windows > end[0]) | ((windows == end[0]) & (positions >= end[1]))
    periods = pc.strftime(table["event_time"], format=PERIODS[config.evaluate.period])
    names = pc.binary_join_element_wise(table["source"], periods, "/")
    grouped = pa.table({"slice": names, "new": pa.array(new.astype(np.int64))}).group_by("slice")
    shares = grouped.aggregate([("new", "mean")]).to_pylist()
    return {row["slice"] for row in shares if row["new_mean"] > 0.5}


def promote(store: Store, candidate: commits.Commit, decision: Decision, details: dict[str, Any]) -> None:
    """Write the decision down and, if it says so, move the champion pointer."""
    champion = read_champion(store)
    entry = {
        "checkpoint": candidate.name,
        "decided": time.time(),
        "previous": champion["checkpoint"] if champion else None,
        **details,
    }
    record = {**entry, "decision": decision.to_dict()}
    store.write(f"registry/decisions/{candidate.name.replace('/', '-')}.json", json.dumps(record, indent=1).encode())
    if decision.promoted:
        store.write("registry/champion.json", json.dumps(entry, indent=1).encode())


def move_champion(store: Store, name: str) -> dict[str, Any]:
    """Put a committed checkpoint in service by hand, for example to move back; FileNotFoundError if it is gone."""
    commit = commits.by_name(store, name)
    champion = read_champion(store)
    entry = {
        "checkpoint": commit.name,
        "decided": time.time(),
        "previous": champion["checkpoint"] if champion else None,
        "by_hand": True,
    }
    store.write("registry/champion.json", json.dumps(entry, indent=1).encode())
    return entry


def champion_commit(store: Store) -> commits.Commit | None:
    """The checkpoint in service."""
    champion = read_champion(store)
    return commits.by_name(store, champion["checkpoint"]) if champion else None


