"""How is a checkpoint asked without training it: one process, full weights, no DeepSpeed?

`AskedModel.evaluate` gives the same figures as `Engine.evaluate` on one worker; a machine's cores or its GPU are all it
needs. What else may be asked (is a text the likeliest one, what follows a prompt) hangs on the kind: `answers.py`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cluster.rows import Rows
from models.config import ModelConfig
from models.device import MicroBatch, device, micro_batches
from models.kinds.building import build
from models.kinds.kinds import kind_of
from models.kinds.loss import document_nats

ROWS_AT_ONCE = 16


class AskedModel:
    """A model that is in memory to be asked, by the kind of its configuration."""

    def __init__(self, config: ModelConfig, vocab_size: int, seed: int, weights: dict[str, Tensor] | None) -> None:
        """weights: full float32 weights by name; None is the untrained model of this seed."""
        self.config, self.kind = config, kind_of(config)
        self.module = build(config, vocab_size, seed, weights)
        self.module.to(device()).eval()

    def evaluate(self, rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return nats [R, S] of each segment of each row, and how many predictions they are of."""
        num_segments = max(1, int(rows.segments.max(initial=0)) + 1)
        nats, predictions = [], []
        for batch in micro_batches(self.kind.arrange(rows), ROWS_AT_ONCE):
            n, p = document_nats(self._nats, batch, num_segments)
            nats.append(n.cpu().numpy())
            predictions.append(p.cpu().numpy())
        return np.concatenate(nats), np.concatenate(predictions)

    def _nats(self, batch: MicroBatch) -> Tensor:
        return self.kind.nats(self.module, batch)


def scorer(
    config: ModelConfig, vocab_size: int, seed: int, weights: dict[str, Tensor] | None
) -> Callable[[Rows], tuple[NDArray[np.float64], Any]]:
    """Return `evaluate` of a model that is loaded for it."""
    return AskedModel(config, vocab_size, seed, weights).evaluate
