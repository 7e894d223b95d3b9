"""What is a rule of curation, and what does it see?

A rule is a frozen configuration with one pure method: it is shown a batch of documents as Arrow arrays and says which
of them go, and how the others read from now on. A batch and not a text at a time makes rules fast; the price is that a
rule is a function of arrays. What a rule says of a document must not depend on its neighbours, because how documents
fall into batches is decided elsewhere.
"""

import inspect
from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from cluster.units import Settings
from data_ops.kernels.arrays import Bools, Floats, Ints

if TYPE_CHECKING:
    from data_ops.kernels.texts.measures import Measures


@dataclass(frozen=True)
class Texts:
    """Documents of one batch, arrays of one length: text and metadata.

    text: string, normalised, never null or empty, as the rules before this one left it.
    id: binary(16), the hash of the text before any rule rewrote it.
    source: string, the label; external_id: string, the record's own id, or null.
    time: timestamp of the event in UTC, as the lake will hold it: filled and clamped.
    """

    text: pa.Array
    id: pa.Array
    source: pa.Array
    external_id: pa.Array
    time: pa.Array

    def __len__(self) -> int:
        return len(self.text)

    def keep(self, rows: Bools) -> "Texts":
        """Return the documents of these rows."""
        mask = pa.array(rows)
        kept = Texts(*(getattr(self, name).filter(mask) for name in self.__dataclass_fields__))
        if "measured" in self.__dict__:
            kept.__dict__["measured"] = self.measured.keep(rows, kept.text)
        return kept

    def rewritten(self, text: pa.Array) -> "Texts":
        """Return the same documents with other texts."""
        return replace(self, text=text)

    @cached_property
    def measured(self) -> "Measures":
        """Figures of the texts that rules share: characters, words, lines, repeats."""
        from data_ops.kernels.texts.measures import Measures  # numba, 0.5 s: not for reading a configuration

        return Measures(self.text)


class RuleVerdict(NamedTuple):
    """What a rule says about a batch: bool[n] of documents to drop and, if it rewrites, all n texts anew."""

    drop: Bools
    text: pa.Array | None = None


class Meaning(Settings):
    """Settings whose docstring says what they drop, for `trace`, the report and the docs."""

    @classmethod
    def meaning(cls) -> str:
        """Say in half a sentence what is dropped.

        >>> Meaning.meaning()
        'settings whose docstring says what they drop, for `trace`, the report and the docs'
        """
        first = inspect.cleandoc(cls.__doc__ or "").partition("\n")[0].partition(". ")[0].rstrip(".")
        first = first.removeprefix("Drop ")
        return first[:1].lower() + first[1:]


class Rule(Meaning):
    """One rule with its settings. Its docstring says what it drops or rewrites."""

    @abstractmethod
    def judge(self, texts: Texts) -> RuleVerdict:
        """Say which documents go and how the others read: pure, one answer a document, whatever the batch."""


def ratio(part: Ints, whole: Ints) -> Floats:
    """Part of each whole; 0 of nothing."""
    return np.divide(part, whole, out=np.zeros(len(part), dtype=np.float64), where=whole > 0)
