"""How is a checkpoint scored without training it: one process, full weights, no DeepSpeed?

`scorer` gives the same figures as `Engine.evaluate` on one worker; a machine's cores or its GPU are all it needs.
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


def scorer(
    config: ModelConfig, vocab_size: int, seed: int, weights: dict[str, Tensor] | None
) -> Callable[[Rows], tuple[NDArray[np.float64], Any]]:
    """Return a function from rows to (nats [R, S] of each segment of each row, predictions likewise).

    weights: full float32 weights by name; None is the untrained model of this seed.
    """
    kind, model = kind_of(config), build(config, vocab_size, seed, weights)
    model.to(device()).eval()

    def nats_of(batch: MicroBatch) -> Tensor:
        return kind.nats(model, batch)

    def evaluate(rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        num_segments = max(1, int(rows.segments.max(initial=0)) + 1)
        nats, predictions = [], []
        for batch in micro_batches(kind.arrange(rows), ROWS_AT_ONCE):
            n, p = document_nats(nats_of, batch, num_segments)
            nats.append(n.cpu().numpy())
            predictions.append(p.cpu().numpy())
        return np.concatenate(nats), np.concatenate(predictions)

    return evaluate
