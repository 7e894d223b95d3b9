"""How do several texts go on at once, each with the answer it would have alone?

A product of matrices adds in another order at another number of rows, so a batch that grew and shrank with its texts
would change their last bits, and now and then a token. Here every step multiplies the same number of rows, whoever is
there; each row reads its own keys and values in a call of its own; a prompt is read alone, in pieces that begin at the
same places. What is left is the place of a row in the batch: `exact_rows` tries all of them with the weights that
are to answer, and where one differs by a bit, texts take turns instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from models.device import uncompiled
from models.kinds.cache import Cache
from models.measures.generation import ReadsOn, choose_token
from models.sampling import Sampling

# Shape suffixes: B rows, L positions, V vocabulary.
PIECE = 512  # tokens of a prompt that are read between two steps of the others
PROBE_TOKENS = 3


@runtime_checkable
class ReadsRows(ReadsOn, Protocol):
    """A model that can read several texts on at once."""

    vocab_size: int

    def read_rows(self, inputs_B: Tensor, caches: Sequence[Cache]) -> Tensor:
        """Return logits [B, V] behind one token of each text; rows behind the caches are padding."""
        ...


class ChosenToken(NamedTuple):
    """A token of a text: by how many nats it was likely, and which were likeliest; None where nobody asked."""

    id: int
    logprob: float | None = None
    likeliest: tuple[tuple[int, float], ...] = ()


@dataclass(eq=False)
class GoingText:
    """A text that goes on. ended: None while it does, else `stop` (a token that ends it came) or `length`."""

    prompt: Sequence[int]
    most: int  # tokens that are added
    stops: frozenset[int]
    how: Sampling
    likeliest: int | None = None  # how many of the likeliest tokens are told; None: no likelihoods at all
    tells_prompt: bool = False  # are the likelihoods of the prompt's own tokens told too?
    prompt_tokens: list[ChosenToken] = field(default_factory=list)
    tokens: list[ChosenToken] = field(default_factory=list)
    ended: str | None = None
    cache: Cache | None = None

    @property
    def is_read(self) -> bool:
        """Is the whole prompt read?"""
        return self.cache is not None and self.cache.length >= len(self.prompt)

    def choose(self, logits_V: Tensor) -> None:
        """Go on by one token, or end."""
        if len(self.tokens) < self.most:
            token = choose_token(logits_V, self.how, len(self.prompt) + len(self.tokens))
            if token in self.stops:
                self.ended = "stop"
                return
            self.tokens.append(told(token, logits_V, self.likeliest))
        if len(self.tokens) == self.most:
            self.ended = "length"


def told(token: int, logits_V: Tensor, likeliest: int | None) -> ChosenToken:
    """Tell a token with its likelihood, before temperature, and the likeliest ones; None: the token alone."""
    if likeliest is None:
        return ChosenToken(token)
    logprobs_V = logits_V.log_softmax(0)
    values, ids = logprobs_V.topk(min(likeliest, len(logprobs_V)))
    return ChosenToken(token, float(logprobs_V[token]), tuple(zip(ids.tolist(), values.tolist(), strict=True)))


class BatchDecoder:
    """Lets texts of one model go on, up to `rows` at once. Stateless but for the model: texts hold their own."""

    def __init__(self, model: ReadsRows, rows: int, like: Tensor) -> None:
        """like: a tensor of the precision and on the device that the model computes in."""
        self.model, self.like = model, like
        with uncompiled():
            self.rows = rows if rows == 1 or exact_rows(model, rows, like) else 1

    def read(self, text: GoingText) -> None:
        """Read the next piece of a prompt; behind its end the first token is chosen."""
        if text.cache is None:
            text.cache = Cache(1, len(text.prompt) + text.most, self.model.config, self.like)
        start = text.cache.length
        piece = torch.tensor([list(text.prompt[start : start + PIECE])], device=self.like.device)
        with uncompiled():
            logits = self.model.read_on(piece, text.cache, text.tells_prompt)[0]
        if text.tells_prompt:
            following = text.prompt[start + 1 : start + 1 + len(logits)]
            text.prompt_tokens += [told(t, logits[i], text.likeliest) for i, t in enumerate(following)]
        if text.is_read:
            text.choose(logits[-1] if text.tells_prompt else logits)

    def step(self, texts: Sequence[GoingText]) -> None:
        """Add a token to each of up to `rows` texts whose prompts are read, or end it."""
        caches = [text.cache for text in texts if text.cache is not None]
        last = [text.tokens[-1].id for text in texts] + [0] * (self.rows - len(texts))
        with uncompiled():
            logits_BV = self.model.read_rows(torch.tensor(last, device=self.like.device), caches)
        for text, logits_V in zip(texts, logits_BV, strict=False):
            text.choose(logits_V)


def exact_rows(model: ReadsRows, rows: int, like: Tensor) -> bool:
    """Say whether a text has the same bits at every place of a batch, alone and among others."""

    def logits(place: int, others: bool) -> Tensor:
        """Logits [PROBE_TOKENS, V] of the probe at a place, after as many steps; the other rows hold other texts."""
        caches = [Cache(1, 2 * PROBE_TOKENS, model.config, like) for _ in range(rows if others else place + 1)]
        for row, cache in enumerate(caches):
            first = 1 if row == place else 2 + row
            model.read_on(torch.tensor([[first, first + 1]], device=like.device) % model.vocab_size, cache)
        steps = []
        for number in range(PROBE_TOKENS):
            ids = torch.full((rows,), (5 + number) % model.vocab_size, device=like.device)
            steps.append(model.read_rows(ids, caches)[place])
        return torch.stack(steps)

    alone = logits(0, others=False)
    return all(torch.equal(alone, logits(place, others=True)) for place in range(rows))
