"""How is the next token chosen among those that may follow?"""

from typing import NamedTuple


class Sampling(NamedTuple):
    """What narrows the choice, and what decides it."""

    temperature: float = 0.8  # 0 takes the likeliest; 1 draws as the model says
    top_p: float = 0.95  # draw among the likeliest tokens of this share together
    top_k: int | None = None  # draw among so many tokens at most
    seed: int = 0  # decides every draw


class AskedText(NamedTuple):
    """A prompt, how many tokens may follow and how they are drawn; chat: it is a question that wants an answer."""

    prompt: str
    tokens: int
    how: Sampling
    chat: bool = False
