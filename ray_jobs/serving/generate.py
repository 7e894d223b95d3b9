"""What does `headrace generate` do? It lets a checkpoint go on with a text, here, and shows the text as it comes."""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from data_ops.documents.tokenizer import Tokenizer
from ray_jobs.serving.text import TextStream


class Said(NamedTuple):
    """A text, how many tokens it is, and the seconds they took."""

    text: str
    tokens: int
    seconds: float


def stream(tokenizer: Tokenizer, tokens: Iterator[int], show: Callable[[str], None]) -> Said:
    """Show a text as its tokens come; what is no whole character yet is held back."""
    began, count, shown = time.perf_counter(), 0, list[str]()
    text = TextStream(tokenizer)
    for token in tokens:
        count += 1
        if piece := text.add(token):
            shown.append(piece)
            show(piece)
    if rest := text.end():
        shown.append(rest)
        show(rest)
    return Said("".join(shown), count, round(time.perf_counter() - began, 3))
