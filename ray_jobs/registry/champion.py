"""How is a candidate put in service, and where is the decision written?"""

import json
import time
from typing import Any, NamedTuple

import pyarrow as pa

from cluster.storage.store import Store
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.champion import read_champion
from ray_jobs.evaluation.gate import Decision
from ray_jobs.outcome import ConfigError
from ray_jobs.store.paths import CHAMPION


class Verdict(NamedTuple):
    """The gate's word on a candidate, the figures it saw, the champion then, and what it was compared with."""

    decision: Decision
    before: pa.Table
    after: pa.Table
    champion: str | None
    reference: str | None  # the champion, or the one before if that is the candidate; None: the untrained model


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
        put_in_service(store, entry)
    store.write(decision_path(candidate), json.dumps(record, indent=1).encode())
    return True


def champion_name(store: Store) -> str | None:
    """Name of the checkpoint in service, None before the first promotion."""
    champion = read_champion(store)
    return champion["checkpoint"] if champion else None


def put_in_service(store: Store, entry: dict[str, Any]) -> None:
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
