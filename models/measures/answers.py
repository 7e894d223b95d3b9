"""Which texts does a model hold for likely, and what does it say itself? What tasks that people know ask of a model.

Beside the nats of a text stands whether it is what the model would have said. A generated text is the likeliest token
after the likeliest token, so it is the same at every asking.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cluster.rows import Rows
from models.config import Objective
from models.device import MicroBatch, device, micro_batches, uncompiled
from models.kinds.loss import IGNORE, position_nats
from models.measures.generation import ReadsAlong, ReadsOn, generate
from models.measures.scoring import AskedModel
from models.sampling import Sampling

# Shape suffixes: B rows, L positions, N labels, V vocabulary.
LABELS_AT_ONCE = 512  # logits of so many are held at once
LIKELIEST = Sampling(temperature=0)


class Compared(NamedTuple):
    """Of each segment [R, S] of each row: the nats of its labels, and is each of them the likeliest token?"""

    nats: NDArray[np.float64]
    likeliest: NDArray[np.bool_]


@runtime_checkable
class GivesLogits(Protocol):
    """A module whose logits can be had, as those of ours that predict the next token can."""

    def logits_of(self, inputs: Tensor, segments: Tensor) -> Callable[[Tensor], Tensor]:
        """Read rows; return what turns places [N] among their positions, row after row, into logits [N, V]."""
        ...


@torch.no_grad()
def compare(model: AskedModel, rows: Rows, rows_at_once: int) -> Compared:
    """Ask for the labels of rows. ValueError for a model that fills masks, or whose kind gives no logits."""
    if model.config.learns != Objective.CAUSAL or not isinstance(model.module, GivesLogits):
        raise ValueError(
            f"a model of kind {model.config.kind} does not say which token follows, which tasks of lm-eval ask; leave "
            "them out of evaluate.tasks, or judge a decoder"
        )
    segments = max(1, int(rows.segments.max(initial=0)) + 1)
    found = Compared(np.zeros((len(rows.inputs), segments)), np.ones((len(rows.inputs), segments), np.bool_))
    for number, batch in enumerate(micro_batches(model.kind.arrange(rows), rows_at_once)):
        part = slice(number * rows_at_once, (number + 1) * rows_at_once)
        _compare(model.module, batch, Compared(found.nats[part], found.likeliest[part]))
    return found


def _compare(module: GivesLogits, batch: MicroBatch, found: Compared) -> None:
    """Fill in what is found for a batch."""
    labels_N = batch.labels.flatten().long()
    places_N = torch.nonzero(labels_N != IGNORE).flatten()
    with uncompiled():
        logits_of = module.logits_of(batch.inputs, batch.segments)
        for part_N in places_N.split(LABELS_AT_ONCE):
            logits_NV = logits_of(part_N).float()
            nats_N, _ = position_nats(logits_NV, labels_N[part_N])
            hit_N = logits_NV.argmax(-1) == labels_N[part_N]
            place = part_N.cpu()
            at = (place // batch.labels.shape[1]).numpy(), batch.segments.flatten()[place].numpy()
            np.add.at(found.nats, at, nats_N.double().cpu().numpy())
            np.logical_and.at(found.likeliest, at, hit_N.cpu().numpy())


def likeliest_tokens(model: AskedModel, prompt: Sequence[int], most: int, ends: set[int]) -> Iterator[int]:
    """Yield up to `most` likeliest tokens behind a prompt, until one of `ends` would come; ValueError if it cannot."""
    module = model.module
    if isinstance(module, ReadsOn | ReadsAlong):
        yield from generate(module, prompt, most, ends, LIKELIEST, torch.empty(0, device=device()))
    else:
        raise ValueError(f"a model of kind {model.config.kind} cannot generate, which this task asks; judge a decoder")
