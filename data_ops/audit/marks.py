"""What have the rounds made of each place in the log?

One pass over the manifests, one at a time. In memory are three bytes for each place up to the last one that a round
names: its state, and how often it was replayed.
"""

from collections.abc import Iterator, Mapping
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_ops.audit.account import SHED, TRAINED, Stand, states_of
from data_ops.kernels.arrays import Ints
from data_ops.lake.lake import Lake
from data_ops.rounds.manifest import Manifest

Marks = TypeVar("Marks", np.uint8, np.uint16)


def round_marks(lake: Lake, stands: Mapping[str, Stand]) -> "RoundMarks":
    """Mark what the rounds of these runs have, as far as their weights go; of several runs the highest state counts."""
    marks = RoundMarks()
    for batch in lake.round_batches():
        rows = pa.Table.from_batches([batch])
        for index in range(rows.num_rows):
            if (stand := stands.get(rows["run"][index].as_py())) is not None:
                marks.take(Manifest.from_row(rows, index), stand)
    return marks


class RoundMarks:
    """What the rounds have of each place in the log, window by window."""

    def __init__(self) -> None:
        self._states: dict[int, npt.NDArray[np.uint8]] = {}
        self._draws: dict[int, npt.NDArray[np.uint16]] = {}

    def take(self, manifest: Manifest, stand: Stand) -> None:
        """Mark the documents of a round, as far as it is in the weights; a place that comes twice keeps the highest."""
        if (manifest.round, 0) >= stand.place:
            return
        states, fresh = states_of(manifest, stand), len(manifest.fresh)
        planned = (manifest.fresh, states[:fresh]), (manifest.shed, np.full(len(manifest.shed), SHED))
        for documents, found in planned:
            for window, which in _by_window(documents.windows):
                at = documents.positions[which]
                row = self._states[window] = _grown(self._states.get(window, np.zeros(0, np.uint8)), at)
                np.maximum.at(row, at, found[which].astype(np.uint8))
        drawn = manifest.replay.take(states[fresh:] == TRAINED)
        for window, which in _by_window(drawn.windows):
            at = drawn.positions[which]
            draws = self._draws[window] = _grown(self._draws.get(window, np.zeros(0, np.uint16)), at)
            np.add.at(draws, at, 1)

    def of(self, windows: Ints, positions: Ints) -> tuple[pa.Array, pa.Array]:
        """State (of account.py) and number of draws of each row."""
        states, draws = np.zeros(len(windows), np.uint8), np.zeros(len(windows), np.uint16)
        for window, which in _by_window(windows):
            _look(self._states.get(window), positions, which, states)
            _look(self._draws.get(window), positions, which, draws)
        return pa.array(states), pa.array(draws)


def _by_window(windows: Ints) -> Iterator[tuple[int, Ints]]:
    """Each window with the rows of it."""
    order = np.argsort(windows, kind="stable")
    for which in np.split(order, np.flatnonzero(np.diff(windows[order])) + 1):
        if len(which):
            yield int(windows[which[0]]), which


def _grown(row: npt.NDArray[Marks], at: Ints) -> npt.NDArray[Marks]:
    """A row of marks that has these places."""
    more = int(at.max()) + 1 - len(row)
    return np.concatenate([row, np.zeros(more, row.dtype)]) if more > 0 else row


def _look(row: npt.NDArray[Marks] | None, positions: Ints, which: Ints, found: npt.NDArray[Marks]) -> None:
    """Put the marks of a window's rows in their places; what no round names has none."""
    if row is not None:
        inside = which[positions[which] < len(row)]
        found[inside] = row[positions[inside]]
