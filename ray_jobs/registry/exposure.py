"""Which committed checkpoints, kept or retired, had seen some documents, and had the champion?"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict

from cluster.storage.store import Store
from data_ops.audit.sightings import Position, Sighting
from data_ops.lake.lake import Lake
from ray_jobs.checkpoints.champion import read_champion
from ray_jobs.checkpoints.manifest import DAMAGES, commits, load
from ray_jobs.origin.record import read_origin
from ray_jobs.store.paths import checkpoint_name, fed_path, names_of

COLUMNS = ("run", "step", "round", "step_in_round", "checkpoint", "committed")


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


class NoteRow(TypedDict):
    """Where a checkpoint stands, as the ledger says."""

    run: str
    step: int
    round: int
    step_in_round: int
    checkpoint: str
    committed: datetime | None


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


def seen_by(store: Store, lake: Lake, found: list[Sighting]) -> list[Seen]:
    """The checkpoints of all runs that had seen a document, in the order of the ledger, each step once.

    A decay branch has seen what its main line had seen when it left it, and its own replay; a run that began with
    another checkpoint of the store (`model.from`) has seen what that one had. One that is kept and that the ledger
    lacks, because its coordinator was killed first, counts too.
    """
    ledger: list[NoteRow] = lake.ledger().select(COLUMNS).to_pylist()
    ledger += _not_noted(store, {(row["run"], row["step"]) for row in ledger})
    kept = {run: set(commits(store, run)) for run in {row["run"] for row in ledger}}
    fed = {run for run in kept if store.exists(fed_path(run))}
    history = _History(found, ledger, _beginnings(store, kept))
    seen = {}
    for row in ledger:
        run, step = row["run"], row["step"]
        if history.has(run, (row["round"], row["step_in_round"])):
            committed = row["committed"].isoformat() if row["committed"] else None
            there = None if run in fed else step in kept[run]
            seen[run, step] = Seen(run, step, row["checkpoint"], committed, there)
    return list(seen.values())


class _History:
    """What is in the weights of a run at a position: its own rounds, and all that it came from."""

    def __init__(self, found: list[Sighting], ledger: list[NoteRow], beginnings: dict[str, set[str]]) -> None:
        self._found = found
        self._beginnings = beginnings
        self._stands = {(row["run"], row["step"]): (row["round"], row["step_in_round"]) for row in ledger}

    def has(self, run: str, position: Position, passed: frozenset[str] = frozenset()) -> bool:
        """Whether some of the documents' text is in them; `passed`: runs that are looked into already."""
        if any(sighting.run == run and sighting.is_before(position) for sighting in self._found):
            return True
        before = self._beginnings.get(run, set())
        main, _, left = run.partition("@")  # commit.branch_name
        if not before and left.isdecimal():
            before = {checkpoint_name(main, int(left))}
        return any(self._checkpoint_has(name, passed | {run}) for name in before)

    def _checkpoint_has(self, name: str, passed: frozenset[str]) -> bool:
        run, _, step = name.rpartition("/")
        return run not in passed and self.has(run, self._stands.get((run, int(step)), (0, 0)), passed)


def _beginnings(store: Store, runs: Iterable[str]) -> dict[str, set[str]]:
    """Which checkpoints hold the weights that a run began with: the copy, and, of the copy, what was copied.

    Copies go by their content, so two runs that began with equal weights share one.
    """
    found: dict[str, set[str]] = {}
    for run in runs:
        origin = read_origin(store, run)
        if origin is not None:
            found.setdefault(run, set()).add(origin.checkpoint)
            if origin.copied_from is not None:
                found.setdefault(origin.checkpoint.partition("/")[0], set()).add(origin.copied_from)
    return found


def _not_noted(store: Store, noted: set[tuple[str, int]]) -> list[NoteRow]:
    """Kept checkpoints that the ledger does not have, as rows of it; when they were committed is not known."""
    rows: list[NoteRow] = []
    for run in names_of(store, "checkpoints"):
        for step in commits(store, run):
            if (run, step) not in noted:
                with suppress(*DAMAGES):  # what cannot be read cannot be used either
                    found = load(store, run, step)
                    rows.append(
                        {
                            "run": run,
                            "step": step,
                            "round": found.round,
                            "step_in_round": found.step_in_round,
                            "checkpoint": found.name,
                            "committed": None,
                        }
                    )
    return rows


def champion_seen(store: Store, seen: list[Seen]) -> ChampionSeen | None:
    """The champion and whether it is among those; None if there is no champion."""
    champion = read_champion(store)
    if champion is None:
        return None
    return {"checkpoint": champion.checkpoint, "seen": champion.checkpoint in {s.checkpoint for s in seen}}
