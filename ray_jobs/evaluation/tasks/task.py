"""What is a task of evaluation, what may it ask of a model, and what does it answer?

A task is a frozen configuration with one method: it asks a `Scorer` and answers with `Scores`, one row an item. It
gives rows and not means, because the gate compares two models item by item: the same item under both, weighted by size.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.rows import Rows
from cluster.storage.store import Store
from cluster.units import Settings
from data_ops.documents.tokenizer import Tokenizer
from data_ops.lake.lake import Lake
from data_ops.rounds.masking import RowObjective
from ray_jobs.config.blocks import EvaluateConfig
from ray_jobs.evaluation.held_out import HeldOut
from ray_jobs.evaluation.scores import score

if TYPE_CHECKING:
    from models.measures.scoring import AskedModel

Evaluate = Callable[[Rows], tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]]
Better = Literal["lower", "higher"]

SCORES = pa.schema([("id", pa.binary()), ("slice", pa.string()), ("total", pa.float64()), ("size", pa.float64())])


class SliceScore(NamedTuple):
    """One slice: how many items, and their totals over their sizes."""

    n: int
    value: float


@dataclass(frozen=True)
class Scores:
    """What a task found: `table` has SCORES, one row an item.

    id: 16 bytes, the same for the same item whatever the model. The value of a slice is sum(total) / sum(size): nats in
    bits over bytes, or 1 for a right answer over 1. span: by how much two models can lie apart on one item (right or
    wrong: 1); 0: nobody can say.
    """

    table: pa.Table
    better: Better
    unit: str
    span: float = 0.0

    def by_slice(self) -> dict[str, SliceScore]:
        """Return number of items and value of each slice, ordered by name."""
        groups = self.table.group_by("slice").aggregate([("total", "sum"), ("size", "sum"), ("total", "count")])
        rows = sorted(groups.to_pylist(), key=lambda row: str(row["slice"]))
        return {row["slice"]: SliceScore(row["total_count"], row["total_sum"] / row["size_sum"]) for row in rows}


@dataclass(frozen=True)
class Scorer:
    """A model that can be asked, with the store it is judged in, up to a window."""

    evaluate: Evaluate  # rows -> (nats, predictions) of each segment of each row
    tokenizer: Tokenizer
    row_tokens: int
    lake: Lake
    last_window: int
    config: EvaluateConfig
    objective: RowObjective  # what held-out rows ask of it
    model: "AskedModel | None" = None  # what else may be asked of it (models/measures/answers.py)

    def nats(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return the nats that the model pays for each text, as a document of its own; it sees no other.

        ValueError for a model that fills masks: it pays for hidden tokens, which is no price of a text.
        """
        if self.objective.masking is not None:
            raise ValueError(
                f"a task asks what {len(texts)} texts cost, and this model names hidden tokens beside all others, "
                "which is no likelihood; leave the task out of evaluate.tasks, or judge a decoder"
            )
        from data_ops.rounds.packing import pack  # numba, 0.5 s: not for reading a configuration

        tokens = self.tokenizer.encode(pa.array(texts, pa.string()))
        lengths = np.array([len(text) for text in tokens], np.int64) + 1
        offsets = np.concatenate([[0], np.cumsum(lengths - 1)])
        packing = pack(lengths, self.row_tokens)
        table = pa.table({"text": pa.array(texts, pa.string())})
        asked = HeldOut(table, packing, tokens.flatten().to_numpy(), offsets, self.row_tokens, self.objective)
        return score(asked, self.evaluate)


class Task(Settings):
    """One task with its settings. Its docstring says what is asked."""

    better: ClassVar[Better]
    unit: ClassVar[str]

    @property
    def margin(self) -> float | None:
        """How much worse than the champion a candidate may be on a slice, in `unit`; None: that is shown, not asked."""
        return 0.0

    @property
    def called(self) -> str | None:
        """By which name it is judged; None: by its kind, which then stands in `evaluate.tasks` once."""
        return None

    def check(self) -> None:
        """Look at what the task needs, before a cluster is touched; ValueError says in a sentence what is wrong."""

    def pinned(self, store: Store) -> Self:
        """Return the task so that nothing outside the store can change what it asks, between an ask and its verdict."""
        return self

    @abstractmethod
    def run(self, scorer: Scorer) -> Scores:
        """Ask the model: the same items at the same window, whatever the model."""
