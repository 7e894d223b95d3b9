"""Which rounds and steps have these documents, and had a checkpoint seen them?

Read from the manifests alone: a round's layout is a pure function of its manifest, so the steps at which a document's
positions are trained can be told at any time. A checkpoint has seen a document when one of these steps lies before
the position it was committed at. All manifests are read, one at a time: 16 bytes a document and round.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from data_ops.kernels.arrays import Ids
from data_ops.kernels.id_sets import is_member
from data_ops.lake.lake import Lake
from data_ops.rounds.layout import Layout
from data_ops.rounds.manifest import Manifest

Part = Literal["fresh", "replay", "shed"]
PARTS: tuple[Part, ...] = ("fresh", "replay", "shed")
Position = tuple[int, int]  # (round, steps of it that are done)


@dataclass(frozen=True)
class Sighting:
    """One round that has one of the documents; a shed one has no steps."""

    run: str
    round: int
    part: Part
    document: int  # number in the ids that were asked for
    steps: tuple[int, ...]  # within the round, 0..; [] if it was shed

    def is_before(self, position: Position) -> bool:
        """Whether the weights at (round, steps of it) were trained on some of the document's text."""
        return bool(self.steps) and (self.round, self.steps[0]) < position


def sightings(lake: Lake, ids: Ids) -> list[Sighting]:
    """Find documents (uint64[n, 2]) in the rounds of all runs, in the order of runs and rounds."""
    found = []
    for batch in lake.round_batches():
        rows = pa.Table.from_batches([batch])
        for index in range(rows.num_rows):
            found += _in_round(rows["run"][index].as_py(), Manifest.from_row(rows, index), ids)
    return sorted(found, key=lambda s: (s.run, s.round, s.document))


def _in_round(run: str, manifest: Manifest, ids: Ids) -> list[Sighting]:
    found, layout, first = [], None, 0
    for part in PARTS:
        documents = getattr(manifest, part)
        for place in np.flatnonzero(is_member(documents.ids, ids)).tolist():
            number = int(np.flatnonzero((ids == documents.ids[place]).all(axis=1))[0])
            steps: tuple[int, ...] = ()
            if part != "shed":
                layout = layout or Layout(manifest)
                steps = tuple(layout.steps_of(first + place).tolist())
            found.append(Sighting(run, manifest.round, part, number, steps))
        first += len(documents)
    return found
