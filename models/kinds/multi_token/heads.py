"""How do heads learn tokens further ahead, without the memory of all of them at once?

Gloeckle et al. 2024, section 2 and figure 2: each head is one layer on the hidden states of a shared trunk, and all
share the output table. The next token's own head is the last layer of the model, as always, so that the model without
the others is an ordinary one. The others run one after the other, forward and backward, inside the backward pass of one
autograd function: activations and logits of one head are there at a time. Nothing of them is computed twice. The price:
what their tokens cost is known only behind the backward pass.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.config import ModelConfig
from models.device import moved
from models.kinds.attention import AttentionLayout
from models.kinds.cache import AnyCache, Cache
from models.kinds.loss import IGNORE, Head, Slopes, sum_of_nats
from models.kinds.transformer import Layer, Norm

# Shape suffixes: B rows, L positions, N = B * L, D width, V padded vocabulary.


class AheadLayer(Layer):
    """One head: a layer of the kind of the model's last one, with a norm of its own before the output table."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, config.kinds[-1])
        self.norm = Norm(config.width, config)

    def forward(
        self,
        h_BLD: Tensor,
        layout: AttentionLayout,
        cache: AnyCache | None = None,
        index: int = 0,
    ) -> Tensor:
        """Return what is multiplied with the output table, [B, L, D]."""
        return self.norm(super().forward(h_BLD, layout, cache, index))


class Ahead(nn.ModuleList):
    """The heads of the tokens behind the next one; they share the output table."""

    def __init__(self, config: ModelConfig, head: Head) -> None:
        """head: whose table they share. Registered here too, so that ZeRO-3 gathers it when they run."""
        super().__init__(AheadLayer(config) for _ in range(config.further))
        self.shares = config.mtp.shares if config.mtp is not None else ()
        self.vocab_size, self.chunks, self.weight = head.vocab_size, head.training_chunks, head.weight
        self.sums: Tensor | None = None

    def forward(self, z_BLD: Tensor, layout: AttentionLayout, labels_BL: Tensor, segments_BL: Tensor | None) -> Tensor:
        """Return a float32 zero that is to be added to the sum of nats; its gradient is that of the further tokens."""
        return _TokensAhead.apply(z_BLD, self.weight, Lesson(self, layout, labels_BL, segments_BL))

    @torch.no_grad()
    def read_on(self, z_1LD: Tensor, cache: Cache, layout: AttentionLayout) -> Tensor:
        """Take in the trunk's states of positions that follow; return what each head says behind the last, [heads, D].

        cache: of one row, with a layer for each head.
        """
        states = [layer(z_1LD, layout, cache, index)[0, -1] for index, layer in enumerate(self)]
        cache.length += z_1LD.shape[1]
        return torch.stack(states)

    def count(self, nats: list[Tensor], labels: list[Tensor]) -> None:
        """Add up the nats and the number of labels of each head."""
        found = torch.stack((torch.stack(nats).double(), torch.stack(labels).double()), dim=1)
        self.sums = found if self.sums is None else self.sums + found

    def take_sums(self) -> Tensor:
        """Return float64 (nats, labels) [heads, 2] since this was last asked, as this rank has them."""
        found, self.sums = self.sums, None
        return torch.zeros(len(self), 2, dtype=torch.float64, device=self.weight.device) if found is None else found


@dataclass(frozen=True)
class Lesson:
    """What the heads learn from in a backward pass."""

    ahead: Ahead
    layout: AttentionLayout
    labels: Tensor  # [B, L]
    segments: Tensor | None


def labels_ahead(labels_BL: Tensor, segments_BL: Tensor | None, ahead: int) -> Tensor:
    """Return the labels `ahead` positions further on, none where another document stands there.

    >>> labels_ahead(torch.tensor([[1, 2, 3, 4, 5]]), torch.tensor([[0, 0, 0, 1, 1]]), 1)
    tensor([[   2,    3, -100,    5, -100]])
    """
    further_BL = F.pad(labels_BL[:, ahead:], (0, ahead), value=IGNORE)
    if segments_BL is None:
        return further_BL
    same_BL = F.pad(segments_BL[:, ahead:] == segments_BL[:, :-ahead], (0, ahead), value=False)
    return torch.where(moved(same_BL, labels_BL.device), further_BL, IGNORE)


class _TokensAhead(torch.autograd.Function):
    """Zero, whose backward pass runs each head forward and backward.

    Gradients of a head's own weights are accumulated as it runs, once each; those of the shared table and of the trunk
    are summed over the heads and handed on, so that a hook on the table sees one gradient a backward pass.
    """

    @staticmethod
    def forward(ctx: Any, z_BLD: Tensor, weight_VD: Tensor, lesson: Lesson) -> Tensor:
        ctx.save_for_backward(z_BLD)
        ctx.lesson = lesson
        return torch.zeros((), dtype=torch.float32, device=z_BLD.device)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        lesson, ahead, scale = ctx.lesson, ctx.lesson.ahead, upstream[0]
        z_BLD = ctx.saved_tensors[0].detach().requires_grad_()
        weight_VD = ahead.weight.detach()
        grad_weight_VD = torch.zeros_like(weight_VD, dtype=torch.float32)
        nats, counts = [], []
        for index, (layer, share) in enumerate(zip(ahead, ahead.shares, strict=True)):
            labels_N = labels_ahead(lesson.labels, lesson.segments, index + 1).flatten().long()
            with torch.enable_grad():
                h_BLD = layer(z_BLD, lesson.layout)
            h_ND = h_BLD.detach().flatten(0, -2)
            grad_h_ND = torch.empty_like(h_ND)
            slopes = Slopes(ahead.vocab_size, ahead.chunks(h_ND), grad_h_ND, grad_weight_VD, share)
            nats.append(sum_of_nats(h_ND, weight_VD, labels_N, slopes))
            counts.append((labels_N != IGNORE).sum())
            h_BLD.backward((grad_h_ND * (scale * share)).to(h_BLD.dtype).view(h_BLD.shape))
        ahead.count(nats, counts)
        return z_BLD.grad, (grad_weight_VD * scale).to(weight_VD.dtype), None
