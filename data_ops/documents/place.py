"""How is a document pointed at: by its place in the log, with its name and length?

The log is every document of every window in (window, position) order; it only grows, so a place means the same for
ever. `Documents` are columns, not objects: a round of a million documents is four arrays.
"""

from dataclasses import dataclass
from typing import NamedTuple, TypedDict

import numpy as np
import pyarrow as pa

from data_ops.kernels.arrays import Bools, Ids, Ints, array_to_ids, ids_to_array


class Place(NamedTuple):
    """A place in the log of documents: everything before (window, position) has been planned."""

    window: int = 0
    position: int = 0

    @property
    def key(self) -> int:
        """One number per place, in the order of places."""
        return (self.window << 32) + self.position


def place_keys(windows: Ints, positions: Ints) -> Ints:
    """The keys of many places: int64[n]."""
    return (windows.astype(np.int64) << 32) + positions.astype(np.int64)


class PlaceRow(TypedDict):
    """One of `Documents`, as the lake's `rounds` keep it."""

    id: bytes
    window: int
    position: int
    num_tokens: int


@dataclass(frozen=True)
class Documents:
    """Documents by name and place: n rows of ids uint64[n,2], windows, positions and token counts int64[n]."""

    ids: Ids
    windows: Ints
    positions: Ints
    num_tokens: Ints

    @staticmethod
    def from_table(table: pa.Table) -> "Documents":
        """Read the columns id, window, position and num_tokens."""
        ints = [table[c].to_numpy().astype(np.int64) for c in ("window", "position", "num_tokens")]
        return Documents(ids_to_array(table["id"].combine_chunks()), *ints)

    @staticmethod
    def empty() -> "Documents":
        """No documents."""
        none = np.empty(0, np.int64)
        return Documents(np.empty((0, 2), np.uint64), none, none, none)

    def take(self, which: Ints | Bools) -> "Documents":
        """Pick rows by index or mask, in that order."""
        return Documents(self.ids[which], self.windows[which], self.positions[which], self.num_tokens[which])

    def join(self, other: "Documents") -> "Documents":
        """These documents followed by the others."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Documents(*(np.concatenate(pair) for pair in pairs))

    @property
    def lengths(self) -> Ints:
        """Positions each one occupies in rows: its tokens and the document token."""
        return self.num_tokens + 1

    def __len__(self) -> int:
        return len(self.windows)

    def to_arrow(self) -> list[PlaceRow]:
        """Rows for the lake's `rounds` table."""
        columns = (self.windows.tolist(), self.positions.tolist(), self.num_tokens.tolist())
        rows = zip(array_to_ids(self.ids).to_pylist(), *columns, strict=True)
        return [{"id": i, "window": w, "position": p, "num_tokens": n} for i, w, p, n in rows]

    @staticmethod
    def from_arrow(cell: pa.StructArray | None) -> "Documents":
        """Read one cell of the lake's `rounds` table (a struct array)."""
        if cell is None or len(cell) == 0:
            return Documents.empty()
        return Documents.from_table(pa.Table.from_struct_array(cell))
