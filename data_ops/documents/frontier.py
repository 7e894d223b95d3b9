"""How far has a run planned the log, where each source has a place of its own?

One place before which everything of every source is planned and, by label, places of sources that are further (or that
had documents in the very window of that place).
A source that is not named, also one that nobody has seen yet, stands at that one place.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_ops.documents.place import Place, place_keys
from data_ops.kernels.arrays import Ints


class Frontier(NamedTuple):
    """Everything before `base` is planned; of the sources in `ahead` everything before their own place, which is no
    earlier.
    """

    base: Place = Place()
    ahead: Mapping[str, Place] = {}

    def of(self, source: str) -> Place:
        """The place of a source."""
        return self.ahead.get(source, self.base)

    @property
    def newest(self) -> Place:
        """The place of the source that is furthest."""
        return max((self.base, *self.ahead.values()))

    def whole_windows(self) -> "Frontier":
        """The same without the windows that are planned in part."""
        return Frontier.of_places(Place(self.base.window), {k: Place(p.window) for k, p in self.ahead.items()})

    def is_behind(self, other: "Frontier") -> bool:
        """Does no source stand further than in `other`?

        >>> Frontier(Place(1)).is_behind(Frontier(Place(1), {"news": Place(4)}))
        True
        """
        labels = {*self.ahead, *other.ahead}
        return self.base <= other.base and all(self.of(label) <= other.of(label) for label in labels)

    def waiting(self, sources: pa.ChunkedArray, windows: Ints, positions: Ints) -> npt.NDArray[np.bool_]:
        """Which documents (rows of source, window, position) are not before it."""
        places = place_keys(windows, positions)
        wanted = np.full(len(places), self.base.key)
        if self.ahead:
            labels = sources.combine_chunks().dictionary_encode()
            keys = np.array([self.of(label).key for label in labels.dictionary.to_pylist()], np.int64)
            wanted = keys[labels.indices.to_numpy()] if len(keys) else wanted
        waits: npt.NDArray[np.bool_] = places >= wanted
        return waits

    @staticmethod
    def of_places(base: Place, places: Mapping[str, Place]) -> "Frontier":
        """A frontier in its one form: only sources that are ahead are named, in the order of their labels."""
        return Frontier(base, {label: places[label] for label in sorted(places) if places[label] > base})

    @staticmethod
    def through(window: int) -> "Frontier":
        """Everything up to and with a window."""
        return Frontier(Place(window + 1))
