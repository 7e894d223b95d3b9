"""What does `headrace generate` do? It lets a checkpoint go on with a text, here, and shows the text as it comes."""

import time
from collections.abc import Callable
from typing import NamedTuple

from data_ops.documents.tokenizer import Tokenizer
from models.measures.speculation import Going
from ray_jobs.serving.text import TextStream


class Said(NamedTuple):
    """A text, how many tokens it is, the seconds they took, and how many forward passes gave some of them."""

    text: str
    tokens: int
    seconds: float
    forwards: int


def stream(tokenizer: Tokenizer, going: Going, show: Callable[[str], None]) -> Said:
    """Show a text as its tokens come; what is no whole character yet is held back."""
    began, count, forwards, shown = time.perf_counter(), 0, 0, list[str]()
    text = TextStream(tokenizer)
    for tokens in going:
        count, forwards = count + len(tokens), forwards + 1
        if piece := "".join(map(text.add, tokens)):
            shown.append(piece)
            show(piece)
    if rest := text.end():
        shown.append(rest)
        show(rest)
    return Said("".join(shown), count, round(time.perf_counter() - began, 3), forwards)
