"""Where does a champion come from: which weights, which documents, which champion before it?

Read from what is written down (the checkpoint's manifest, the decision, the round it ends in), so that W&B,
TensorBoard and MLflow are told the same as the registry.
"""

import secrets
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any, TypedDict

import msgspec

from cluster.storage.state import publish_json, read_json
from cluster.storage.store import Store
from cluster.telemetry.mlflow_registry import MlflowRegistry
from cluster.telemetry.wandb_run import Champion
from data_ops.lake.lake import Lake
from data_ops.rounds.manifest import Manifest
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.champion import read_champion
from ray_jobs.checkpoints.position import state_to_json
from ray_jobs.store.paths import decision_path, run_path


class TaughtRounds(TypedDict):
    """Which recorded rounds are in some weights: how many, and up to which window of the store they go."""

    rounds: int
    steps_of_last_round: int  # 0: all of them
    last_window: int


class TrackingId(msgspec.Struct):
    """What wandb.json holds."""

    id: str


def lineage(store: Store, candidate: commits.Commit) -> Champion:
    """Return the champion that a promoted candidate is, with what it comes from; its verdict must be written down."""
    main = _main_of(store, candidate)
    verdict = read_json(store, decision_path(candidate.name), dict[str, Any])
    facts = {
        "checkpoint": candidate.name,
        "previous": verdict["previous"],
        "store": store.uri,
        "step": candidate.step,
        "branch_of": main.name if main.run != candidate.run else None,
        "tokens": candidate.state.position.tokens,
        **rounds_of(Lake(store), main.run, (main.round, main.step_in_round)),
        "weights_sha256": verdict["weights_sha256"],
        "sample_fingerprint": verdict["sample_fingerprint"],
        "tokenizer": verdict["tokenizer"],
        "size_bytes": candidate.size_bytes,
    }
    told = {**facts, "state": state_to_json(candidate.state), "files": [asdict(file) for file in candidate.files]}
    places = tuple(f"{store.uri}/{file.path}" for file in candidate.files)
    return Champion(
        candidate.name, verdict["previous"], store.uri, places, facts, {**told, "decision": verdict["decision"]}
    )


def in_service(store: Store) -> Champion | None:
    """Return the champion there is, however it came into service; None before the first. Raises as commits.by_name."""
    entry = read_champion(store)
    if entry is None:
        return None
    commit = commits.by_name(store, entry.checkpoint)
    if store.exists(decision_path(entry.checkpoint)):
        return replace(lineage(store, commit), previous=entry.previous)
    places = tuple(f"{store.uri}/{file.path}" for file in commit.files)
    facts = {"step": commit.step, "tokens": commit.state.position.tokens, "weights_sha256": entry.weights_sha256}
    return Champion(entry.checkpoint, entry.previous, store.uri, places, facts)


def tell_mlflow(store: Store, model: str | None) -> None:
    """Tell MLflow which champion is in service, because it may have missed how it came there; model None: never."""
    if model is None:
        return
    with suppress(*commits.DAMAGES):  # the next reader of the registry says so
        if (champion := in_service(store)) is not None:
            MlflowRegistry(model).promoted(champion)


def _main_of(store: Store, candidate: commits.Commit) -> commits.Commit:
    """Where a candidate left its run, between two rounds, also if that checkpoint was freed since; else itself."""
    run, branched, left_at = candidate.run.partition("@")
    judged = candidate.state.judged
    if not branched:
        return candidate
    if judged is None:  # of an older version, whose branches leave the end of a run
        return commits.load(store, run, int(left_at))
    return replace(candidate, run=run, step=int(left_at), round=judged.round, step_in_round=0)


def rounds_of(lake: Lake, run: str, place: tuple[int, int]) -> TaughtRounds:
    """Which recorded rounds of a run are in weights at (round, steps of it), and up to which window of the store."""
    last = place[0] if place[1] else place[0] - 1
    rows = lake.rounds(run, last)
    end = Manifest.from_row(rows, 0).ends.newest if rows.num_rows else None
    return {
        "rounds": last + 1,
        "steps_of_last_round": place[1],
        "last_window": (end.window if end.position else end.window - 1) if end else -1,
    }


def tracking_id(store: Store, run: str) -> str:
    """The run's id in W&B: made once and kept in the store, so that a name used again elsewhere is another run."""
    path = run_path(run, "wandb.json")
    publish_json(store, path, {"id": f"{run}-{secrets.token_hex(4)}"})
    return read_json(store, path, TrackingId, "delete it, and W&B begins another run").id
