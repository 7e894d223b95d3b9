"""How many nats does the model pay for each token?

`Head` holds the output embedding and turns hidden states into cross entropy in float32. Logits are made a
chunk at a time and their gradient is taken in the forward pass (as in Liger Kernel's fused linear cross
entropy), so that a large vocabulary never holds more than `LOGIT_BYTES` of logits and nothing is computed
twice. The price: gradients flow only through the *sum* of nats; per-position nats come without, for
evaluation.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.device import MicroBatch, compiled, uncompiled

# Shape suffixes: B rows, L positions, N = B * L, D width, V padded vocabulary.
IGNORE = -100
LOGIT_BYTES, GPU_LOGIT_BYTES = 256 * 2**20, 2**30  # of one chunk in float32; in training a GPU writes down bf16 only


class Head(nn.Module):
    """Output embedding [V, D]; forward gives nats."""

    def __init__(self, width: int, vocab_size: int, padded: int) -> None:
        super().__init__()
        self.vocab_size, self.padded = vocab_size, padded
        self.weight = nn.Parameter(torch.empty(padded, width))

    def forward(self, h_BLD: Tensor, labels_BL: Tensor, each: bool = False) -> Tensor:
        """Return the float32 sum of nats over labels other than -100; with `each` [B, L], no gradient."""
        h_ND, labels_N = h_BLD.flatten(0, -2), labels_BL.flatten().long()
        if each:
            with torch.no_grad():
                chunks = self._chunks(len(h_ND), LOGIT_BYTES)
                nats = [position_nats(self.logits(h_ND[part]), labels_N[part])[0] for part in chunks]
            return torch.cat(nats).view(labels_BL.shape)
        return _SumOfNats.apply(h_ND, self.weight, labels_N, self.vocab_size, self.training_chunks(h_ND))

    def logits(self, h: Tensor) -> Tensor:
        """Return float32 logits [..., V]; those of the padding beyond the vocabulary are -inf."""
        return masked_logits(F.linear(h, self.weight), self.vocab_size)

    def training_chunks(self, h_ND: Tensor) -> list[slice]:
        """Part positions so that the logits of a part are few enough."""
        return self._chunks(len(h_ND), GPU_LOGIT_BYTES if h_ND.is_cuda else LOGIT_BYTES)

    def _chunks(self, positions: int, most_bytes: int) -> list[slice]:
        fewest = max(1, -(-positions // max(1, most_bytes // (4 * self.padded))))
        even = (n for n in range(fewest, 2 * fewest) if positions % n == 0)  # of one size, which is compiled once
        size = max(1, -(-positions // next(even, fewest)))
        return [slice(start, min(start + size, positions)) for start in range(0, positions, size)]


@torch.no_grad()
def document_nats(
    nats_of: Callable[[MicroBatch], Tensor], batch: MicroBatch, num_segments: int
) -> tuple[Tensor, Tensor]:
    """Return (nats float64 [B, num_segments], predictions int64 [B, num_segments]) of every segment.

    nats_of gives the nats [B, L] of each label. Segments are numbered from 0 in each row; padding (-1) and labels of
    -100 count nothing.
    """
    labels_BL, segments_BL = batch.labels, batch.segments
    with uncompiled():
        nats_BL = nats_of(batch).double()
    counted_BL = (labels_BL != IGNORE) & (segments_BL.to(labels_BL.device) >= 0)
    index_BL = segments_BL.to(labels_BL.device).long().clamp(min=0)
    nats = torch.zeros(len(labels_BL), num_segments, dtype=torch.float64, device=labels_BL.device)
    predictions = torch.zeros(len(labels_BL), num_segments, dtype=torch.int64, device=labels_BL.device)
    nats.scatter_add_(1, index_BL, torch.where(counted_BL, nats_BL, 0.0))
    return nats, predictions.scatter_add_(1, index_BL, counted_BL.long())


def masked_logits(logits: Tensor, vocab_size: int) -> Tensor:
    """Continue in float32, without the padding; may overwrite what it is given."""
    logits = logits.float()
    logits[..., vocab_size:] = -torch.inf
    return logits


@compiled
def nats_and_slope(logits_NV: Tensor, labels_N: Tensor, vocab_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return nats [N], the softmax [N, V] and the slope [N] at the label, both in the logits' precision.

    The slope of the nats by the logits is the softmax, but for the label, where one is subtracted; a position that
    predicts nothing has nats and slope 0. Overwrites the logits.
    """
    masked_NV = masked_logits(logits_NV, vocab_size)
    nats_N, partition_N = position_nats(masked_NV, labels_N)
    counted_N = labels_N != IGNORE
    softmax_NV = masked_NV.sub_(partition_N[:, None]).exp_().mul_(counted_N[:, None])
    chosen_N = torch.where(counted_N, torch.exp(-nats_N) - 1.0, 0.0)
    return nats_N, softmax_NV.to(logits_NV.dtype), chosen_N.to(logits_NV.dtype)


def position_nats(logits_NV: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return (nats, log partition function) of each position; nats are 0 where nothing is predicted."""
    partition_N = torch.logsumexp(logits_NV, dim=-1)
    chosen_N = logits_NV.gather(1, labels_N.clamp(min=0)[:, None]).squeeze(1)
    return torch.where(labels_N == IGNORE, 0.0, partition_N - chosen_N), partition_N


class Slopes(NamedTuple):
    """How logits are made, and where the gradients of the sum of nats go; None: they are not wanted."""

    vocab_size: int
    chunks: list[slice]
    of_hidden: Tensor | None  # [N, D], overwritten
    of_table: Tensor | None = None  # float32 [V, D], added to
    weight: float = 1.0  # by which what is added is multiplied


def sum_of_nats(h_ND: Tensor, weight_VD: Tensor, labels_N: Tensor, slopes: Slopes) -> Tensor:
    """Return the float32 sum of nats, and take its gradients, chunk by chunk."""
    total = torch.zeros((), dtype=torch.float32, device=h_ND.device)
    for part in slopes.chunks:
        labels = labels_N[part]
        nats_N, slope_NV, chosen_N = nats_and_slope(F.linear(h_ND[part], weight_VD), labels, slopes.vocab_size)
        total += nats_N.sum()
        if slopes.of_hidden is None:
            continue
        slope_NV.scatter_(1, labels.clamp(min=0)[:, None], chosen_N[:, None])
        slopes.of_hidden[part] = slope_NV @ weight_VD
        if slopes.of_table is not None:
            slopes.of_table.add_(slope_NV.T @ h_ND[part], alpha=slopes.weight)
    return total


class _SumOfNats(torch.autograd.Function):
    """Sum of nats, its gradient computed chunk by chunk in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any, h_ND: Tensor, weight_VD: Tensor, labels_N: Tensor, vocab_size: int, chunks: list[slice]
    ) -> Tensor:
        wanted = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        trains = ctx.needs_input_grad[1]  # a frozen table is multiplied with, and that is all
        grad_weight_VD = torch.zeros_like(weight_VD, dtype=torch.float32) if trains else None
        grad_h_ND = torch.zeros_like(h_ND) if wanted else None
        total = sum_of_nats(h_ND, weight_VD, labels_N, Slopes(vocab_size, chunks, grad_h_ND, grad_weight_VD))
        ctx.save_for_backward(grad_h_ND, None if grad_weight_VD is None else grad_weight_VD.to(weight_VD.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        grad_h_ND, grad_weight_VD = ctx.saved_tensors
        scale = upstream[0]
        return (
            (grad_h_ND * scale).to(grad_h_ND.dtype),
            None if grad_weight_VD is None else (grad_weight_VD * scale).to(grad_weight_VD.dtype),
            None,
            None,
            None,
        )
