"""What does a training loop get for one step, and in which form does it take it?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_ops.rounds.packing import IGNORED_LABEL
from ray_jobs.outcome import ConfigError

if TYPE_CHECKING:
    import torch


class LoopBatch(NamedTuple):
    """This rank's rows of the global batch of one optimizer step, int32 [rows, row_tokens] each.

    inputs: tokens; a document starts with the document token, and so does padding. labels: the token that each position
    has to predict, already shifted; -100 predicts nothing. segments: 0, 1, ... number the documents of a row, and
    attention may not cross them; -1 pads. predictions: labels of the whole global batch, over all ranks.
    """

    step: int  # steps of the run that are done with this one
    inputs: NDArray[np.int32]
    labels: NDArray[np.int32]
    segments: NDArray[np.int32]
    predictions: int

    @property
    def positions(self) -> NDArray[np.int32]:
        """Each position's place in its document (int32 [rows, row_tokens]), as `position_ids` of packed rows."""
        count = self.segments.shape[1]
        starts = np.ones(self.segments.shape, np.bool_)
        starts[:, 1:] = self.segments[:, 1:] != self.segments[:, :-1]
        places = np.arange(count, dtype=np.int32)
        return places - np.maximum.accumulate(np.where(starts, places, 0), axis=1)

    def split(self, rows: int) -> Iterator[LoopBatch]:
        """Give the same step as micro batches of so many rows, for gradient accumulation."""
        if len(self.inputs) % rows:
            raise ConfigError(f"{len(self.inputs)} rows of a rank cannot be split by {rows}; give a divisor of them")
        for begin in range(0, len(self.inputs), rows):
            here = slice(begin, begin + rows)
            yield self._replace(inputs=self.inputs[here], labels=self.labels[here], segments=self.segments[here])

    def tensors(self) -> dict[str, torch.Tensor]:
        """Give the rows as a causal language model of transformers takes them: int64 [rows, row_tokens] each.

        `shift_labels` are the labels as they are here, so that the model does not shift them once more; where
        `position_ids` start again at 0, transformers keeps the documents of a row apart.
        """
        import torch

        fields = {"input_ids": self.inputs, "position_ids": self.positions, "shift_labels": self.labels}
        tensors = {name: torch.from_numpy(values.astype(np.int64)) for name, values in fields.items()}
        before = np.full_like(self.labels[:, :1], IGNORED_LABEL)
        tensors["labels"] = torch.from_numpy(np.hstack([before, self.labels[:, :-1]]).astype(np.int64))
        return tensors
