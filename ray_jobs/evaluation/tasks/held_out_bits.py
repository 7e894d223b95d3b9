"""How many bits does a model pay for a byte of text that nobody trains on, by source and period? The first task."""

import math
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.config import Objective
from ray_jobs.evaluation.held_out import held_out
from ray_jobs.evaluation.scores import score, with_nats
from ray_jobs.evaluation.tasks.task import Better, Scorer, Scores, Task


class HeldOutBits(Task):
    """Ask for the bits per byte of held-out documents."""

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "bits/byte"

    def run(self, scorer: Scorer) -> Scores:
        """One row a held-out document: bits and bytes of its text."""
        masks = scorer.objective.masking is not None
        return bits_of(self.nats(scorer), (Objective.MASKED if masks else Objective.CAUSAL).measure)

    def nats(self, scorer: Scorer, only: pa.Array | None = None) -> pa.Table:
        """Return what is kept of a checkpoint: id, slice, num_bytes and nats of held-out documents, or only some."""
        data = held_out(scorer.lake, scorer.last_window, scorer.config, scorer.row_tokens, scorer.objective, only)
        return with_nats(data, score(data, scorer.evaluate))


def bits_of(table: pa.Table, unit: str = HeldOutBits.unit) -> Scores:
    """Turn nats of documents (id, slice, num_bytes, nats) into scores; a null is not a number. unit: how it is told."""
    nats = np.asarray(table["nats"].cast(pa.float64()).to_numpy(), dtype=np.float64)
    return _scores(table, nats / math.log(2), unit)


def _scores(table: pa.Table, bits: np.typing.NDArray[np.float64], unit: str) -> Scores:
    size = pc.cast(table["num_bytes"], pa.float64())
    columns = {"id": table["id"].cast(pa.binary()), "slice": table["slice"], "total": pa.array(bits), "size": size}
    return Scores(pa.table(columns), HeldOutBits.better, unit)
