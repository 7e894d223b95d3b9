"""Where does an answer come from? From a checkpoint, whose rounds and newest document the store knows.

The ledger keeps what every checkpoint was made of, also once its files are gone; while they are there, the fingerprint
that the answer bears is compared with them.
"""

import hashlib
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal, TypedDict

import numpy as np
import pyarrow as pa

from cluster.storage.store import Store
from data_ops.lake.lake import Lake
from ray_jobs.checkpoints.manifest import DAMAGES, Commit, by_name
from ray_jobs.evaluation.judged_text import NOTHING, given_until
from ray_jobs.outcome import ConfigError
from ray_jobs.registry.ancestry import Ancestry
from ray_jobs.registry.champions import champions
from ray_jobs.registry.lineage import TaughtRounds, rounds_of
from ray_jobs.serving.answer_id import AnswerName

NEWEST_WINDOWS = 32  # in which the newest document is looked for: it must not cost more as a store grows
COLUMNS = ["window", "position", "source", "event_time"]
PRECISIONS = ("torch.float32", "torch.bfloat16")


class TaughtRow(TaughtRounds):
    """Which rounds of a run are in the weights."""

    run: str


class ServiceRow(TypedDict):
    """A time in which the checkpoint was the champion; ISO 8601, until None: it still is."""

    since: str
    until: str | None
    how: str
    reason: str


class AnswerOrigin(TypedDict):
    """What an answer's id leads to; weights: whether those that are kept are the ones that answered."""

    answer: str
    choice: int
    checkpoint: str
    fingerprint: str
    weights: Literal["same", "other", "gone"]
    committed: str | None
    newest_event: str | None
    taught_by: list[TaughtRow]
    in_service: list[ServiceRow]


def fingerprint_of(commit: Commit, precision: str) -> str:
    """Tell weights in a precision apart by the digests that their checkpoint committed."""
    digest = hashlib.sha256(f"{precision} {commit.state.base} {commit.state.model}".encode())
    for file in commit.files:
        digest.update(file.sha256.encode())
    return f"fp_{digest.hexdigest()[:12]}"


def newest_event_s(lake: Lake, commit: Commit) -> float | None:
    """Find the newest event time among the documents of the last windows that a checkpoint was given."""
    given = given_until(lake, commit)
    if given == NOTHING:
        return None
    last = given.newest.window
    log = lake.documents(max(0, last - NEWEST_WINDOWS), last, COLUMNS, ["kept"])
    taken = ~given.waiting(log["source"], log["window"].to_numpy(), log["position"].to_numpy())
    times_s = log["event_time"].cast(pa.int64()).to_numpy()[taken] * 1e-6
    return float(np.max(times_s)) if len(times_s) else None


def origin_of(lake: Lake, text: str, answer: AnswerName) -> AnswerOrigin:
    """Follow an answer's id; ConfigError where the store has never committed that checkpoint."""
    store, ancestry = lake.store, Ancestry(lake.store, lake)
    note = ancestry.note(answer.checkpoint)
    if note is None:
        raise ConfigError(
            f"answer {text} is of {answer.checkpoint}, which {store.uri} has never committed; name the store that "
            "answered, with store=..."
        )
    commit: Commit | None = None
    with suppress(*DAMAGES):
        commit = by_name(store, answer.checkpoint)
    newest_s = newest_event_s(lake, commit) if commit else None
    return {
        "answer": text,
        "choice": answer.choice,
        "checkpoint": answer.checkpoint,
        "fingerprint": answer.fingerprint,
        "weights": _weights(commit, answer.fingerprint),
        "committed": note["committed"].isoformat() if note["committed"] else None,
        "newest_event": None if newest_s is None else _iso(newest_s),
        "taught_by": [
            {"run": part.run, **rounds_of(lake, part.run, part.stand.place)}
            for part in ancestry.of(note["run"], note["step"])
            if part.stand.place > (0, 0)
        ],
        "in_service": _service(store, answer.checkpoint),
    }


def origin_lines(origin: AnswerOrigin) -> list[str]:
    """The same as lines for people."""
    weights = {"same": "kept, and its weights are those", "gone": "its files are gone", "other": "NOT the weights kept"}
    lines = [
        f"answer     {origin['answer']}",
        f"by         {origin['checkpoint']}, {origin['fingerprint']} ({weights[origin['weights']]})",
        f"committed  {origin['committed'] or 'when is not known'}",
    ]
    lines += [
        f"champion   {one['since']} to {one['until'] or 'now'}, {one['how']}: {one['reason']}"
        for one in origin["in_service"]
    ]
    for part in origin["taught_by"]:
        steps = f" and {part['steps_of_last_round']} steps of the last" if part["steps_of_last_round"] else ""
        lines.append(f"taught by  {part['run']}: {part['rounds']} rounds{steps}, windows up to {part['last_window']}")
    if not origin["taught_by"]:
        lines.append("taught by  no round of this store: its weights came from elsewhere")
    if origin["newest_event"]:
        lines.append(f"newest     document that it was given: {origin['newest_event']}")
    return lines


def _weights(commit: Commit | None, fingerprint: str) -> Literal["same", "other", "gone"]:
    if commit is None:
        return "gone"
    return "same" if fingerprint in [fingerprint_of(commit, precision) for precision in PRECISIONS] else "other"


def _service(store: Store, checkpoint: str) -> list[ServiceRow]:
    return [
        {
            "since": _iso(one.entry.decided),
            "until": None if one.until_s is None else _iso(one.until_s),
            "how": one.how.value,
            "reason": one.reason,
        }
        for one in champions(store)
        if one.name == checkpoint
    ]


def _iso(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat()
