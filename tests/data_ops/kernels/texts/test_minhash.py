"""Does a signature tell how much two texts share?"""

import random
import re

import numpy as np
import pyarrow as pa
import pytest

from data_ops.kernels.texts.minhash import NUM_HASHES, minhash

WORDS = [f"word{number}" for number in range(5_000)]


def shared(one: str, other: str) -> float:
    """The exact share of word sequences that both have."""
    sets = []
    for text in (one, other):
        words = re.findall(r"\w+", text.lower())
        sets.append({tuple(words[i : i + 5]) for i in range(len(words) - 4)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def estimated(one: str, other: str) -> float:
    signatures = minhash(pa.array([one, other])).signatures
    return float(((signatures[0] == signatures[1]).mean() - 1 / 256) / (1 - 1 / 256))


def test_the_estimate_is_right_on_average_and_as_wide_as_theory_says() -> None:
    chance, errors, hits = random.Random(3), [], []
    for _ in range(300):
        words = chance.choices(WORDS, k=300)
        edited = list(words)
        for _ in range(chance.randrange(12)):
            edited[chance.randrange(300)] = "new"
        one, other = " ".join(words), " ".join(edited)
        exact = shared(one, other)
        errors.append(estimated(one, other) - exact)
        if exact >= 0.9:
            bands = minhash(pa.array([one, other])).bands
            hits.append(bool((bands[0] == bands[1]).any()))
    assert abs(np.mean(errors)) < 0.006 and np.std(errors) < (0.25 / NUM_HASHES) ** 0.5
    assert np.mean(hits) > 0.98


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The wheel turns, and turns again.", "the WHEEL turns and\n\nturns: again"),
        ("one two", "One -- two!"),
        ("水车在河上转动", "水车,在河上转动。"),
        ("", "..."),
    ],
)
def test_case_and_marks_do_not_count(one: str, other: str) -> None:
    assert estimated(one, other) == 1.0


@pytest.mark.parametrize(
    ("one", "other"), [("one two", "two one"), ("one", "two"), ("水车在河上转动", "水车在山上停住"), ("a", "")]
)
def test_short_texts_are_told_apart(one: str, other: str) -> None:
    assert estimated(one, other) < 0.2


def test_a_text_has_one_sketch_in_every_batch() -> None:
    texts = pa.array(["a b c d e f g", "é ü ö", "水车", "x " * 500])
    whole = minhash(texts)
    for row in range(len(texts)):
        alone = minhash(texts.slice(row, 1))
        assert np.array_equal(alone.signatures[0], whole.signatures[row])
        assert np.array_equal(alone.bands[0], whole.bands[row])
