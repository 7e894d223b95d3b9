"""Which checkpoint is in service, and when does another take its place?

The champion is one small file, replaced atomically; every decision is kept beside it with its reasons, so it can be
explained and moved back. `judge` scores candidate and champion on the same held-out documents and asks the gate.
"""

import json
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from cluster.session import connect
from cluster.storage import Store
from data_ops.lake import Lake
from data_ops.rounds import Manifest
from data_ops.tokenizer import Tokenizer
from models import hf, scoring
from models.checkpoint import read_full_weights
from ray_jobs import commit as commits
from ray_jobs.commit import CHAMPION, read_champion
from ray_jobs.config import Config, ConfigError
from ray_jobs.evaluate import PERIODS, by_slice, held_out, read_scores, score, with_nats, write_scores
from ray_jobs.gate import Decision, decide
from ray_jobs.open_store import TOKENIZER

logger = logging.getLogger(__name__)


class Verdict(NamedTuple):
    """The gate's word on a candidate, the figures it saw, the champion then, and what it was compared with."""

    decision: Decision
    before: pa.Table
    after: pa.Table
    champion: str | None
    reference: str | None  # the champion, or the one before if that is the candidate; None: the untrained model


def judge_and_promote(
    config: Config,
    tokenizer_json: str,
    candidate: commits.Commit,
    details: dict[str, Any],
    held: Callable[[], bool] = lambda: True,
) -> Verdict:
    """Judge a candidate and do what the verdict says; again, if meanwhile another one became the champion.

    held: whether who asks still may. RuntimeError if not; nothing is written then.
    """
    store = Store.open(config.store)
    while True:
        verdict = judge(config, tokenizer_json, candidate)
        if not held():
            raise RuntimeError(f"run {config.name} was taken over by another driver; {candidate.name} is not promoted")
        if promote(store, candidate, verdict, details):
            return verdict


def judge(config: Config, tokenizer_json: str, candidate: commits.Commit) -> Verdict:
    """Score candidate and champion (or the untrained model) on all held-out documents."""
    store = Store.open(config.store)
    champion = champion_name(store)
    lake = Lake(store)
    reference = champion if champion != candidate.name else _before(store)
    in_service = _in_service(store, reference)
    after = scores_of(config, tokenizer_json, candidate.name)
    before = scores_of(config, tokenizer_json, reference)
    decision = decide(
        after,
        before if reference else None,
        config.gate,
        fresh_slices=fresh_slices(lake, config, in_service),
        untrained=None if reference else before,
    )
    return Verdict(decision, before, after, champion, reference)


def _before(store: Store) -> str | None:
    """What was in service before the champion, if it is still there.

    A candidate that is in service unjudged was put there by a driver that ended before it wrote the verdict down.
    """
    name = (commits.read_champion(store) or {}).get("previous")
    try:
        return commits.by_name(store, name).name if name else None
    except FileNotFoundError:
        return None


def _in_service(store: Store, name: str | None) -> commits.Commit | None:
    """The champion's manifest; ConfigError if somebody deleted it."""
    if name is None:
        return None
    try:
        return commits.by_name(store, name)
    except FileNotFoundError:
        raise ConfigError(
            f"the champion {name} is no longer in {store.uri}; put another checkpoint in service: "
            "headrace promote --to RUN/STEP"
        ) from None


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
    data = held_out(Lake(store), last_window, config.evaluate, model_config.row_tokens, tokenizer.document_token)
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


def decision_path(candidate: commits.Commit) -> str:
    """Where the verdict on a checkpoint is kept."""
    return f"registry/decisions/{candidate.name.replace('/', '-')}.json"


def is_judged(store: Store, candidate: commits.Commit) -> bool:
    """Was there a verdict on this checkpoint?"""
    return store.exists(decision_path(candidate))


def promote(store: Store, candidate: commits.Commit, verdict: Verdict, details: dict[str, Any]) -> bool:
    """Write the decision down and, if it says so, move the champion pointer; False if that has moved meanwhile.

    ConfigError if the candidate was let go while it was judged, as a run that is live does with its older ones.
    """
    if champion_name(store) != verdict.champion:
        return False
    entry = {
        "checkpoint": candidate.name,
        "decided": time.time(),
        "previous": verdict.reference,
        **{k: v for k, v in details.items() if k != "checkpoint"},
    }
    record = {**entry, "decision": verdict.decision.to_dict()}
    if verdict.decision.promoted:
        _put_in_service(store, entry)
    store.write(decision_path(candidate), json.dumps(record, indent=1).encode())
    return True


def champion_name(store: Store) -> str | None:
    """Name of the checkpoint in service, None before the first promotion."""
    champion = read_champion(store)
    return champion["checkpoint"] if champion else None


def _put_in_service(store: Store, entry: dict[str, Any]) -> None:
    """Move the pointer, from when on no commit lets that checkpoint go; back again if one just did."""
    before = read_champion(store)
    store.write(CHAMPION, json.dumps(entry, indent=1).encode())
    try:
        commits.by_name(store, entry["checkpoint"])
    except FileNotFoundError:
        if before is None:
            store.delete(CHAMPION)
        else:
            store.write(CHAMPION, json.dumps(before, indent=1).encode())
        raise ConfigError(
            f"checkpoint {entry['checkpoint']} was let go while it was judged, for its run goes on; "
            "promote a newer one, or raise checkpoint.keep"
        ) from None


def evaluate_checkpoint(config: Config, name: str | None) -> dict[str, Any]:
    """Score a checkpoint (default: the run's last) on every held-out slice: {checkpoint, slices}."""
    store, commit = _chosen(config, name)
    tokenizer_json = store.read(TOKENIZER).decode()
    with connect(config.cluster):
        table = scores_of(config, tokenizer_json, commit.name)
    return {"checkpoint": commit.name, "slices": by_slice(table)}


def promote_checkpoint(config: Config, name: str | None) -> dict[str, Any]:
    """Let the gate judge a checkpoint (default: the run's last) against the champion; the decision as a dict."""
    store, commit = _chosen(config, name)
    tokenizer_json = store.read(TOKENIZER).decode()
    with connect(config.cluster):
        details = {"last_window": Lake(store).last_window()}
        decision = judge_and_promote(config, tokenizer_json, commit, details).decision
    return {"checkpoint": commit.name, **decision.to_dict()}


def promote_by_hand(config: Config, name: str) -> dict[str, Any]:
    """Put a committed checkpoint in service without the gate, for example to move back."""
    store = Store.open(config.store)
    commit = _chosen(config, name)[1]
    entry = {"checkpoint": commit.name, "decided": time.time(), "previous": champion_name(store), "by_hand": True}
    _put_in_service(store, entry)
    return entry


def export_checkpoint(config: Config, name: str | None, directory: str | None) -> dict[str, Any]:
    """Write a checkpoint (default: the champion, else the run's last) as a Hugging Face Llama directory."""
    if directory is None:
        raise ConfigError("--to is missing; name the directory to write, for example --to=./model")
    store = Store.open(config.store)
    commit = _chosen(config, name or champion_name(store))[1]
    tokenizer = Tokenizer.from_json(store.read(TOKENIZER).decode())
    with tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
        weights = read_full_weights(commits.fetch(store, commit, Path(scratch)))
    model = type(config.model)(**commit.state["model"])
    target = Path(directory).expanduser().absolute()
    hf.export(weights, model, tokenizer.to_json(), tokenizer.document_token, tokenizer.vocab_size, target)
    return {"checkpoint": commit.name, "directory": str(target)}


def _chosen(config: Config, name: str | None) -> tuple[Store, commits.Commit]:
    """The checkpoint that is meant: by name, or the newest of the run."""
    store = Store.open(config.store)
    if name is None:
        found = commits.newest_readable(store, config.name)
        if found is None:
            raise ConfigError(f"run {config.name} in {config.store} has no checkpoint yet; train it first")
        return store, found
    try:
        return store, commits.by_name(store, name)
    except (FileNotFoundError, ValueError) as error:
        kept = ", ".join(f"{config.name}/{step}" for step in commits.commits(store, config.name)) or "none"
        raise ConfigError(f"checkpoint {name} is not in {config.store}; of this run there are {kept}") from error
