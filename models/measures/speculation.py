"""How does a model with heads for further tokens go on by several tokens a forward pass, with those of greedy decoding?

Self-speculative decoding (Stern et al. 2018; Gloeckle et al. 2024, section 3.3): the heads draft the tokens behind the
next one, and the next forward pass reads the draft as a block and says at each place which token it would have chosen;
the draft is kept as far as it agrees, and the token behind that is new. So a forward pass of the trunk gives one token
at least, and every token is the trunk's own choice.

A product of matrices adds in another order at another number of rows, so a token read in a block could differ from one
read alone where two are equally likely but for rounding. Therefore every forward pass has the same number of rows,
whatever was drafted, and each position reads its own keys and values in a call of its own: a position has the bits that
it would have in a block in which nothing stands behind it. `exact_blocks` tries it with the weights that are to answer;
where one bit differs there is no speculation.
"""

from collections.abc import Container, Iterator, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from models.config import ModelConfig
from models.device import uncompiled
from models.kinds.cache import Cache
from models.measures.generation import ReadsOn

# Shape suffixes: L positions, D width, V vocabulary.
Going = Iterator[tuple[int, ...]]  # the tokens of each forward pass


@runtime_checkable
class Drafts(ReadsOn, Protocol):
    """A model that drafts the tokens behind the next one, and reads a draft as a block."""

    config: ModelConfig
    vocab_size: int

    def read_prompt(self, inputs_1L: Tensor, cache: Cache) -> tuple[Tensor, Tensor]:
        """Return logits [V] behind a prompt, and the trunk's states [1, L, D]."""
        ...

    def read_block(self, inputs_1L: Tensor, cache: Cache) -> tuple[Tensor, Tensor]:
        """Return logits [L, V] behind each token of a block, and the trunk's states; the cache's length stays."""
        ...

    def draft(self, z_1LD: Tensor, heads: Cache) -> Tensor:
        """Take in states of positions that are kept; return a draft of the tokens behind the next one."""
        ...


def speculate(
    model: Drafts, prompt: Sequence[int], most: int, ends: Container[int], like: Tensor, *, drafts: bool = True
) -> Going:
    """Yield the likeliest tokens that follow a prompt, those of each forward pass, until one of `ends` would come.

    Up to `most` in all. drafts: False reads blocks that hold the one token that is known, which is greedy decoding with
    the same tokens. like: a tensor of the precision and on the device that the model computes in.
    """
    size = model.config.further + 1
    cache = Cache(1, len(prompt) + most + size, model.config, like)
    heads = Cache(1, len(prompt) + most + size, model.config, like, layers=size - 1)
    with uncompiled():
        logits_V, z_1LD = model.read_prompt(torch.tensor([list(prompt)], device=like.device), cache)
    chosen, left = [int(logits_V.argmax())], most
    while left > 0:
        said = _until(chosen[:left], ends)
        if said:
            yield tuple(said)
        left -= len(said)
        if left == 0 or len(said) < len(chosen):
            return
        with uncompiled():
            draft = model.draft(z_1LD, heads).tolist() if drafts else []
            block = [chosen[-1], *draft, *[0] * (size - 1 - len(draft))]
            logits_LV, z_1LD = model.read_block(torch.tensor([block], device=like.device), cache)
        chosen = _agreed(draft, logits_LV.argmax(-1).tolist())
        cache.length += len(chosen)
        z_1LD = z_1LD[:, : len(chosen)]


def _until(tokens: list[int], ends: Container[int]) -> list[int]:
    """The tokens before the first that ends a text."""
    return tokens[: next((at for at, token in enumerate(tokens) if token in ends), len(tokens))]


def _agreed(draft: list[int], choices: list[int]) -> list[int]:
    """The choices behind a block's first token and behind those drafted tokens that were chosen too.

    >>> _agreed([5, 6, 7], [5, 6, 9, 1]), _agreed([5, 6, 7], [4, 6, 7, 1])
    ([5, 6, 9], [4])
    """
    agreed = next((at for at, token in enumerate(draft) if token != choices[at]), len(draft))
    return choices[: agreed + 1]


@torch.no_grad()
def exact_blocks(model: Drafts, like: Tensor) -> bool:
    """Say whether a position has the same bits at every place of a block, whatever stands behind it."""
    size = model.config.further + 1
    tokens = [(3 + 7 * at) % model.vocab_size for at in range(size + 2)]

    def begun() -> Cache:
        cache = Cache(1, 2 * size + 2, model.config, like)
        model.read_prompt(torch.tensor([tokens[:2]], device=like.device), cache)
        return cache

    with uncompiled():
        whole_LV, _ = model.read_block(torch.tensor([tokens[2:]], device=like.device), begun())
        cache = begun()
        for at in range(size):
            block = torch.tensor([[tokens[2 + at], *[0] * (size - 1)]], device=like.device)
            alone_LV, _ = model.read_block(block, cache)
            cache.length += 1
            if not torch.equal(alone_LV[0], whole_LV[at]):
                return False
    return True
