"""Which committed checkpoints, kept or retired, had seen some documents, and had the champion?"""

from dataclasses import dataclass
from typing import TypedDict

from cluster.storage.store import Store
from data_ops.audit.sightings import Sighting
from data_ops.lake.lake import Lake
from ray_jobs.checkpoints.champion import read_champion
from ray_jobs.checkpoints.manifest import commits
from ray_jobs.registry.ancestry import Ancestry
from ray_jobs.store.paths import fed_path


class SeenRow(TypedDict):
    """A `Seen` as plain values."""

    run: str
    step: int
    checkpoint: str
    committed: str | None
    kept: bool | None


class ChampionSeen(TypedDict):
    """The champion, and whether it had seen some of the documents' text."""

    checkpoint: str
    seen: bool


@dataclass(frozen=True)
class Seen:
    """A checkpoint that was trained on some of the documents' text."""

    run: str
    step: int
    checkpoint: str
    committed: str | None  # when, ISO 8601; None: the ledger lacks it
    kept: bool | None  # its files are still there; None: they belong to a loop of the user's, who keeps them

    @property
    def row(self) -> SeenRow:
        """The same as plain values."""
        return {
            "run": self.run,
            "step": self.step,
            "checkpoint": self.checkpoint,
            "committed": self.committed,
            "kept": self.kept,
        }


class Exposure:
    """Every committed checkpoint of a store, to be asked what it had seen."""

    def __init__(self, store: Store, lake: Lake) -> None:
        self.ancestry = Ancestry(store, lake)
        self._kept = {run: set(commits(store, run)) for run in {row["run"] for row in self.ancestry.rows}}
        self._fed = {run for run in self._kept if store.exists(fed_path(run))}

    def of(self, found: list[Sighting]) -> list[Seen]:
        """The checkpoints of all runs that had seen one of these documents, in the order of the ledger, each step once.

        A checkpoint that is kept and that the ledger lacks, because its coordinator was killed first, counts too.
        """
        seen = {}
        for row in self.ancestry.rows if found else ():
            run, step = row["run"], row["step"]
            stretches = self.ancestry.of(run, step)
            if any(one.run == part.run and one.is_before(part.stand.place) for part in stretches for one in found):
                committed = row["committed"].isoformat() if row["committed"] else None
                there = None if run in self._fed else step in self._kept[run]
                seen[run, step] = Seen(run, step, row["checkpoint"], committed, there)
        return list(seen.values())


def seen_by(store: Store, lake: Lake, found: list[Sighting]) -> list[Seen]:
    """The checkpoints that had seen one of some documents."""
    return Exposure(store, lake).of(found)


def champion_seen(store: Store, seen: list[Seen]) -> ChampionSeen | None:
    """The champion and whether it is among those; None if there is no champion."""
    champion = read_champion(store)
    if champion is None:
        return None
    return {"checkpoint": champion.checkpoint, "seen": champion.checkpoint in {s.checkpoint for s in seen}}
