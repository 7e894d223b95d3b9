"""Which committed checkpoints, kept or retired, had seen some documents, and had the champion?"""

from dataclasses import dataclass
from typing import Any

from cluster.storage import Store
from data_ops.lake import Lake
from data_ops.sightings import Position, Sighting
from ray_jobs.commit import commits, read_champion

COLUMNS = ("run", "step", "round", "step_in_round", "checkpoint", "committed")


@dataclass(frozen=True)
class Seen:
    """A checkpoint that was trained on some of the documents' text."""

    run: str
    step: int
    checkpoint: str
    committed: str  # when, ISO 8601
    kept: bool  # its files are still there


def seen_by(store: Store, lake: Lake, found: list[Sighting]) -> list[Seen]:
    """The checkpoints of all runs that had seen a document, in the order of the ledger, each step once.

    A decay branch has seen what its main line had seen when it left it, and its own replay.
    """
    ledger = lake.ledger().select(COLUMNS).to_pylist()
    stands = {(row["run"], row["step"]): (row["round"], row["step_in_round"]) for row in ledger}
    kept = {run: set(commits(store, run)) for run in {row["run"] for row in ledger}}
    seen = {}
    for row in ledger:
        run, step = row["run"], row["step"]
        position: Position = (row["round"], row["step_in_round"])
        main, _, left = run.partition("@")  # commit.branch_name
        before = stands.get((main, int(left)), (0, 0)) if left.isdecimal() else (0, 0)
        if any((s.run == run and s.is_before(position)) or (s.run == main and s.is_before(before)) for s in found):
            seen[run, step] = Seen(run, step, row["checkpoint"], row["committed"].isoformat(), step in kept[run])
    return list(seen.values())


def champion_seen(store: Store, seen: list[Seen]) -> dict[str, Any] | None:
    """The champion and whether it is among those; None if there is no champion."""
    champion = read_champion(store)
    if champion is None:
        return None
    return {"checkpoint": champion["checkpoint"], "seen": champion["checkpoint"] in {s.checkpoint for s in seen}}
