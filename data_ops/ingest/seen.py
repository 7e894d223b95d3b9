"""Which ids has the store kept already? One actor that holds them, and follows the lake window by window."""

import numpy as np
import numpy.typing as npt

from data_ops.kernels.arrays import Ids, ids_to_array
from data_ops.kernels.seen_ids import SeenIds
from data_ops.lake.lake import Lake


class Seen:
    """The ids of all documents kept, held out or forgotten; a Ray actor, rebuilt from the lake when it restarts."""

    def __init__(self, lake: Lake) -> None:
        self.lake, self.ids, self.forgotten, self.last_window = lake, SeenIds(), SeenIds(), -1

    def advance(self, window: int) -> int:
        """Take in every committed window up to this one; returns how many ids are known."""
        if window > self.last_window:
            rows = self.lake.documents(self.last_window + 1, window, ["id"], ["kept", "held_out", "forgotten"])
            self.ids.add_new(ids_to_array(rows["id"]))
            self.forgotten.add_new(self.lake.forgotten())
            self.last_window = window
        return len(self.ids)

    def contains(self, window: int, ids: Ids) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Say which ids a window before this one has kept or held out, and which must never come again."""
        self.advance(window - 1)
        return self.ids.contains(ids), self.forgotten.contains(ids)
