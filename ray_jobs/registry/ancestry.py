"""Which rounds of which runs are in the weights of a checkpoint?

Its own run's up to its position; of a decay branch also those of its main line; of a run that began with a checkpoint
of the store (`model.from`) also those of that checkpoint, through any number of beginnings. The ledger tells it, which
has every checkpoint that was ever committed, and the manifests of those that its coordinator did not come to note.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import TypedDict

from cluster.storage.store import Store
from data_ops.audit.account import Stand
from data_ops.audit.by_period import TrainedRounds
from data_ops.lake.lake import Lake
from ray_jobs.checkpoints.manifest import DAMAGES, commits, load
from ray_jobs.checkpoints.position import TrainingState, state_from_json, state_to_json
from ray_jobs.origin.record import read_origin
from ray_jobs.store.paths import checkpoint_name, names_of

COLUMNS = ("run", "step", "round", "step_in_round", "checkpoint", "committed", "state")


class NoteRow(TypedDict):
    """Where a checkpoint stands, as the ledger says; state: JSON."""

    run: str
    step: int
    round: int
    step_in_round: int
    checkpoint: str
    committed: datetime | None
    state: str


class Ancestry:
    """Every checkpoint that a store ever committed, and what is in its weights."""

    def __init__(self, store: Store, lake: Lake) -> None:
        """Read the whole ledger, and the manifests that it lacks: about 1 kB a checkpoint."""
        rows: list[NoteRow] = lake.ledger().select(COLUMNS).to_pylist()
        self.rows = rows + _not_noted(store, {(row["run"], row["step"]) for row in rows})
        self._notes = {(row["run"], row["step"]): row for row in self.rows}
        self._beginnings = _beginnings(store, {row["run"] for row in self.rows})

    def note(self, checkpoint: str) -> NoteRow | None:
        """The last note of a checkpoint (run/step); None where the store has never committed it."""
        run, _, step = checkpoint.rpartition("/")
        return self._notes.get((run, int(step))) if step.isdecimal() else None

    def state(self, checkpoint: str) -> TrainingState | None:
        """What it held beside its files, also once these are gone; None where that is not told."""
        note = self.note(checkpoint)
        raw: Mapping[str, object] = json.loads(note["state"]) if note else {}
        return state_from_json(raw) if "position" in raw else None

    def of(self, run: str, step: int, passed: frozenset[str] = frozenset()) -> tuple[TrainedRounds, ...]:
        """What is in the weights of a checkpoint, its own run first; `passed`: runs that are looked into already."""
        note = self._notes.get((run, step))
        stand = _stand(note) if note else Stand()
        before = self._beginnings.get(run, set())
        main, _, left = run.partition("@")  # paths.branch_name
        if not before and left.isdecimal():
            before = {checkpoint_name(main, int(left))}
        found = [TrainedRounds(run, stand)]
        for name in sorted(before):
            earlier, _, at = name.rpartition("/")
            if earlier not in passed | {run}:
                found += self.of(earlier, int(at), passed | {run})
        return tuple(dict.fromkeys(found))


def _stand(note: NoteRow) -> Stand:
    position = json.loads(note["state"]).get("position", {})
    skipped = frozenset((int(r), int(s)) for r, s in position.get("skipped", []))
    return Stand((note["round"], note["step_in_round"]), skipped, note["checkpoint"])


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
                            "state": json.dumps(state_to_json(found.state)),
                        }
                    )
    return rows
