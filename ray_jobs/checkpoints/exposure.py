"""Which committed checkpoints, kept or retired, had seen some documents, and had the champion?"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from cluster.storage.store import Store
from data_ops.audit.sightings import Position, Sighting
from data_ops.lake.lake import Lake
from ray_jobs.checkpoints.champion import read_champion
from ray_jobs.checkpoints.manifest import DAMAGES, commits, load
from ray_jobs.store.paths import fed_path, names_of

COLUMNS = ("run", "step", "round", "step_in_round", "checkpoint", "committed")


@dataclass(frozen=True)
class Seen:
    """A checkpoint that was trained on some of the documents' text."""

    run: str
    step: int
    checkpoint: str
    committed: str | None  # when, ISO 8601; None: the ledger lacks it
    kept: bool | None  # its files are still there; None: they belong to a loop of the user's, who keeps them


def seen_by(store: Store, lake: Lake, found: list[Sighting]) -> list[Seen]:
    """The checkpoints of all runs that had seen a document, in the order of the ledger, each step once.

    A decay branch has seen what its main line had seen when it left it, and its own replay. One that is kept and that
    the ledger lacks, because its coordinator was killed first, counts too.
    """
    ledger = lake.ledger().select(COLUMNS).to_pylist()
    ledger += _not_noted(store, {(row["run"], row["step"]) for row in ledger})
    stands = {(row["run"], row["step"]): (row["round"], row["step_in_round"]) for row in ledger}
    kept = {run: set(commits(store, run)) for run in {row["run"] for row in ledger}}
    fed = {run for run in kept if store.exists(fed_path(run))}
    seen = {}
    for row in ledger:
        run, step = row["run"], row["step"]
        position: Position = (row["round"], row["step_in_round"])
        main, _, left = run.partition("@")  # commit.branch_name
        before = stands.get((main, int(left)), (0, 0)) if left.isdecimal() else (0, 0)
        if any((s.run == run and s.is_before(position)) or (s.run == main and s.is_before(before)) for s in found):
            committed = row["committed"].isoformat() if row["committed"] else None
            there = None if run in fed else step in kept[run]
            seen[run, step] = Seen(run, step, row["checkpoint"], committed, there)
    return list(seen.values())


def _not_noted(store: Store, noted: set[tuple[str, int]]) -> list[dict[str, Any]]:
    """Kept checkpoints that the ledger does not have, as rows of it; when they were committed is not known."""
    rows = []
    for run in names_of(store, "checkpoints"):
        for step in commits(store, run):
            if (run, step) not in noted:
                with suppress(*DAMAGES):  # what cannot be read cannot be used either
                    found = load(store, run, step)
                    row = {"step": step, "round": found.round, "step_in_round": found.step_in_round}
                    rows.append({"run": run, "checkpoint": found.name, "committed": None, **row})
    return rows


def champion_seen(store: Store, seen: list[Seen]) -> dict[str, Any] | None:
    """The champion and whether it is among those; None if there is no champion."""
    champion = read_champion(store)
    if champion is None:
        return None
    return {"checkpoint": champion.checkpoint, "seen": champion.checkpoint in {s.checkpoint for s in seen}}
