"""Which figures of a batch of texts do rules share? Each is counted when the first of them asks."""

from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_ops.kernels.arrays import Bools
from data_ops.kernels.texts.character_counts import character_counts
from data_ops.kernels.texts.prose import Prose, prose
from data_ops.kernels.texts.repeats import Pieces, Runs, pieces, runs


class Measures:
    """Figures of the texts of a string array without nulls."""

    def __init__(self, texts: pa.Array) -> None:
        self._texts = texts

    @cached_property
    def characters(self) -> npt.NDArray[np.int64]:
        """Letters, digits, repeated and visible characters of each text: int64[4, n]."""
        return character_counts(self._texts)

    @cached_property
    def prose(self) -> Prose:
        """Words and lines of each text."""
        return prose(self._texts)

    @cached_property
    def pieces(self) -> Pieces:
        """Lines and paragraphs of each text that were there before."""
        return pieces(self._texts)

    @cached_property
    def runs(self) -> Runs:
        """Runs of words that were there before: five times the work of the others."""
        return runs(self._texts)

    def keep(self, rows: Bools, texts: pa.Array) -> "Measures":
        """Return the figures of these rows, whose texts are given; what was not counted yet is not counted for it."""
        kept = Measures(texts)
        for name, found in self.__dict__.items():
            if isinstance(found, tuple):
                kept.__dict__[name] = type(found)(*(figure[..., rows] for figure in found))
            elif name != "_texts":
                kept.__dict__[name] = found[..., rows]
        return kept
