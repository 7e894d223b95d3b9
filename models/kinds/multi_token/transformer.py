"""What does a decoder compute that predicts further tokens?

Its loss is that of the next token; its gradient is that of all of them. Hidden states, nats of each label and logits
are those of the decoder without the heads, to the bit. For decoding, the heads draft the tokens behind the next one,
and a block of them is read at once (`models/measures/speculation.py`).
"""

import torch
from torch import Tensor

from models.config import ModelConfig
from models.kinds.attention import cached_layout
from models.kinds.cache import BlockCache, Cache
from models.kinds.multi_token.heads import Ahead
from models.kinds.transformer import Transformer, initialise

# Shape suffixes: B rows, L positions, D width, V vocabulary.


def build_decoder(config: ModelConfig, vocab_size: int, seed: int | None) -> Transformer:
    """Build a decoder, with heads where they are configured; seed None leaves its weights undrawn."""
    model = (MultiTokenTransformer if config.mtp else Transformer)(config, vocab_size)
    if seed is not None:
        initialise(model, seed)
    return model


class MultiTokenTransformer(Transformer):
    """A decoder with heads for further tokens, which share its trunk and its output table."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__(config, vocab_size)
        self.ahead = Ahead(config, self.head)

    def forward(
        self,
        inputs_BL: Tensor,
        segments_BL: Tensor | None = None,
        labels_BL: Tensor | None = None,
        each: bool = False,
    ) -> Tensor:
        """Return what a `Transformer` does; the heads learn where the sum of nats is differentiated."""
        if labels_BL is None or each or not torch.is_grad_enabled():
            return super().forward(inputs_BL, segments_BL, labels_BL, each)
        z_BLD, layout = self.trunk(inputs_BL, segments_BL)
        # before the last layer, so that it is behind it in the backward pass: its activations are freed by then, and
        # the first gradient that DeepSpeed sees is one of the outer pass, at whose end it reduces
        further = self.ahead(z_BLD, layout, labels_BL, segments_BL)
        h_BLD = self.norm(self.run(self.layers[-1], z_BLD, layout))
        return self.head(h_BLD, labels_BL) + further

    def take_ahead(self) -> Tensor:
        """Return float64 (nats, labels) [heads, 2] of what the heads learnt since this was last asked."""
        return self.ahead.take_sums()

    @torch.no_grad()
    def read_block(self, inputs_1L: Tensor, cache: Cache) -> tuple[Tensor, Tensor]:
        """Read tokens that may be taken back: return float32 logits [L, V] behind each, and the trunk's [1, L, D].

        Their keys and values are written behind those of the cache, whose length stays: the reader adds as many as it
        keeps. At a given L a position's bits do not depend on those behind it (`BlockCache`).
        """
        block, z_1LD = BlockCache(cache, self.config), self.embed(inputs_1L)
        layout = cached_layout(cache.length, inputs_1L.shape[1], self.config, z_1LD)
        for index, layer in enumerate(self.layers[:-1]):
            z_1LD = layer(z_1LD, layout, block, index)
        h_1LD = self.norm(self.layers[-1](z_1LD, layout, block, len(self.layers) - 1))
        return self.head.logits(h_1LD)[0, :, : self.vocab_size], z_1LD

    @torch.no_grad()
    def read_prompt(self, inputs_1L: Tensor, cache: Cache) -> tuple[Tensor, Tensor]:
        """Read a text on as `read_on` does: return float32 logits [V] behind it, and the trunk's states [1, L, D]."""
        z_1LD = self.embed(inputs_1L)
        layout = cached_layout(cache.length, inputs_1L.shape[1], self.config, z_1LD)
        for index, layer in enumerate(self.layers[:-1]):
            z_1LD = layer(z_1LD, layout, cache, index)
        h_1LD = self.layers[-1](z_1LD, layout, cache, len(self.layers) - 1)
        cache.length += inputs_1L.shape[1]
        return self.head.logits(self.norm(h_1LD[:, -1]))[0, : self.vocab_size], z_1LD

    @torch.no_grad()
    def draft(self, z_1LD: Tensor, heads: Cache) -> Tensor:
        """Take in states of positions that are kept; return the likeliest of each further token behind the last.

        heads: keys and values of the heads, a layer each.
        """
        layout = cached_layout(heads.length, z_1LD.shape[1], self.config, z_1LD)
        return self.head.logits(self.ahead.read_on(z_1LD, heads, layout))[:, : self.vocab_size].argmax(-1)
