"""Are repeated lines, paragraphs and runs of words measured as plain Python measures them?"""

import re
from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_ops.kernels.normalise import normalise
from data_ops.kernels.texts import repeats

WORDS = ["a", "the", "wheel", "Ünï", "水", "3", "-"]
TEXT = st.lists(st.sampled_from([*WORDS, " ", " ", " ", "\n", "\n\n", "\n\n\n"]), max_size=80).map(" ".join)


def before(parts: Sequence[str]) -> list[int]:
    """How many there are, how many were there before, and the characters of those."""
    parts = [part for part in parts if part]
    again = [part for number, part in enumerate(parts) if part in parts[:number]]
    return [len(parts), len(again), sum(map(len, again))]


def top(words: list[str], n: int) -> int:
    runs = Counter(" ".join(words[i : i + n]) for i in range(len(words) - n + 1))
    return max((len(run) * times for run, times in runs.most_common(1)), default=0)


def met_before(words: list[str], n: int) -> int:
    seen, chars, at = set(), 0, 0
    while at <= len(words) - n:
        run = tuple(words[at : at + n])
        chars, at = (chars + sum(map(len, run)), at + n) if run in seen else (chars, at + 1)
        seen.add(run)
    return chars


@given(st.lists(TEXT, max_size=6))
@settings(max_examples=60, deadline=None)
def test_equals_plain_python(given_texts: list[str]) -> None:
    texts = normalise(pa.array(given_texts, pa.string()))
    pieces, runs = repeats.pieces(texts), repeats.runs(texts)
    for row, text in enumerate(texts.to_pylist()):
        words = text.split()
        expected = before(re.split(r"\n{2,}", text)) + before(text.split("\n"))
        assert [int(figure[row]) for figure in pieces] == expected, text
        assert runs.top[:, row].tolist() == [top(words, n) for n in (2, 3, 4)], text
        assert runs.duplicate[:, row].tolist() == [met_before(words, n) for n in range(5, 11)], text
        assert runs.chars[row] == len(text)


@pytest.mark.parametrize("count", [0, 1, 5_000])
def test_tables_grow_with_the_text(count: int) -> None:
    texts = pa.array(["one two\n" * count + " ".join(map(str, range(count))), "a b a b"])
    pieces, runs = repeats.pieces(texts), repeats.runs(texts)
    assert pieces.repeated_lines.tolist() == [max(count - 1, 0), 0]
    assert runs.top[0].tolist()[1] == 2 * len("a b")
    assert count < 2 or runs.top[0][0] == count * len("one two")


def test_a_text_without_end_is_judged_by_its_beginning() -> None:
    words = repeats.MOST_WORDS
    texts = pa.array(["ab " * words + " ".join(map(str, range(1000)))])
    assert repeats.runs(texts).top[0][0] == (words - 1) * 5
    assert repeats.runs(texts).chars[0] == 3 * words - 1
