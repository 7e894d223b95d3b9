"""Are words and lines counted as plain Python counts them, in any script?"""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from data_ops.kernels.normalise import normalise
from data_ops.kernels.texts.code_points import LETTER, sort_of
from data_ops.kernels.texts.prose import STOP_WORDS, Prose, prose

PIECES = [
    "the",
    "of",
    "then",
    "wheel.",
    "x...",
    "…",
    "....",
    "#",
    "Ünï",
    "水车。",
    "१।",
    "3",
    "•",
    "- ",
    "—",
    "\u00a0",
    "\u3000",
]
TEXT = st.lists(st.sampled_from([*PIECES, " ", "\n", "\n\n"]), max_size=60).map("".join)


def plain(text: str) -> dict[str, int]:
    """The same, as slowly as one likes."""
    words, lines = text.split(), [line for line in text.split("\n") if line.strip()]
    lettered = [word for word in words if any(sort_of.py_func(ord(c)) == LETTER for c in word)]
    unmarked = [word for word in words if word in lettered or any(c.isascii() and c.isdigit() for c in word)]
    return {
        "chars": len(text),
        "newlines": text.count("\n"),
        "words": len(words),
        "plain_words": len(unmarked),
        "plain_chars": sum(map(len, unmarked)),
        "letter_words": len(lettered),
        "stop_words": len({word.encode() for word in words} & set(STOP_WORDS)),
        "hashes": text.count("#"),
        "ellipses": text.count("...") + text.count("…"),
        "bullet_lines": sum(line.lstrip()[0] in "-•" for line in lines),
        "ellipsis_lines": sum(line.endswith(("...", "…")) for line in lines),
        "full_lines": len(lines),
        "short_lines": sum(len(line) <= 30 for line in lines),
        "ended_lines": sum(line.endswith((".", "!", "?", "。", "।")) for line in lines),
    }


@given(st.lists(TEXT, max_size=6))
@settings(max_examples=60, deadline=None)
def test_equals_plain_python(given_texts: list[str]) -> None:
    texts = normalise(pa.array(given_texts, pa.string()))
    found = prose(texts)
    for row, text in enumerate(texts.to_pylist()):
        assert {name: int(getattr(found, name)[row]) for name in Prose._fields} == plain(text), text
