"""How does a model go on with a text, token by token?

Keys and values of what was read are kept, so that a token costs one position and not the whole text again. A draw is a
function of (seed, position), never of a generator's state: the same seed goes on the same way, wherever it begins.
"""

import zlib
from collections.abc import Container, Generator, Iterator, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from models.config import ModelConfig
from models.kinds.cache import Cache
from models.sampling import Sampling


@runtime_checkable
class ReadsOn(Protocol):
    """A model that can read a text on from where it stopped."""

    config: ModelConfig

    def read_on(self, inputs_BL: Tensor, cache: Cache, each: bool = False) -> Tensor:
        """Return logits [B, V] behind tokens that follow those of the cache; of every token with `each`, [B, L, V]."""
        ...


@runtime_checkable
class ReadsAlong(Protocol):
    """A model that reads a text with a cache of its own."""

    @property
    def positions(self) -> int | None:
        """How many positions a text may have; None: there is no such number."""
        ...

    def reading(self, prompt: Sequence[int]) -> Generator[Tensor, int, None]:
        """Yield logits [V] behind a prompt, then behind each token that is sent."""
        ...


def generate(
    model: ReadsOn | ReadsAlong, prompt: Sequence[int], most: int, ends: Container[int], how: Sampling, like: Tensor
) -> Iterator[int]:
    """Yield up to `most` tokens that follow a prompt, until one of `ends` would come.

    like: a tensor of the precision and on the device that the model computes in.
    """
    reading = model.reading(prompt) if isinstance(model, ReadsAlong) else _reading(model, prompt, most, like)
    logits_V = next(reading)
    for number in range(most):
        token = choose_token(logits_V, how, len(prompt) + number)
        if token in ends:
            return
        yield token
        if number + 1 < most:
            logits_V = reading.send(token)


def _reading(model: ReadsOn, prompt: Sequence[int], most: int, like: Tensor) -> Generator[Tensor, int, None]:
    cache = Cache(1, len(prompt) + most, model.config, like)
    inputs = torch.tensor([list(prompt)], device=like.device)
    while True:
        token = yield model.read_on(inputs, cache)[0]
        inputs = torch.tensor([[token]], device=like.device)


def choose_token(logits_V: Tensor, how: Sampling, position: int) -> int:
    """Choose the token of a position.

    >>> choose_token(torch.tensor([0.0, 2.0, 1.0]), Sampling(temperature=0), 7)
    1
    """
    if how.temperature == 0:
        return int(logits_V.argmax())
    ordered, tokens = torch.sort((logits_V.double() / how.temperature).softmax(0), descending=True, stable=True)
    before = ordered.cumsum(0) - ordered
    kept = before < how.top_p
    if how.top_k is not None:
        kept[how.top_k :] = False
    reached = torch.where(kept, ordered, 0.0).cumsum(0)
    drawn = zlib.crc32(f"{how.seed}/{position}".encode()) / 2**32 * reached[-1]
    return int(tokens[torch.searchsorted(reached, drawn, right=True)])
