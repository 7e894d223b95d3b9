"""Do the rules for web pages stop at their bounds, one by one?"""

import pytest

from data_ops.curation.config import RULES
from data_ops.curation.rules.rule import Rule
from tests.data_ops.curation.rules.test_rule import texts_of

GOOD = "The miller and the baker have to be at the river before the sun is up, with flour number {}, said the old man."
PAGE = "\n".join(GOOD.format(chr(97 + n) * 3) for n in range(6))
LONG = " ".join(f"mill{n} wheel{n} river{n}" for n in range(60)) + "."


def is_dropped(rule: str, text: str, **settings: object) -> bool:
    made: Rule = RULES[rule](**settings)
    return bool(made.judge(texts_of([text])).drop[0])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("the mill and the river", "few words"),
        ("the and " + "a b " * 60, "short words"),
        ("the and " + "pneumonoultramicroscopic " * 60, "long words"),
        (PAGE + " #" * 20, "number signs"),
        (PAGE + " x..." * 20, "ellipses"),
        ("\n".join("- " + GOOD for _ in range(20)), "bullets"),
        ("\n".join(GOOD[:40] + "..." for _ in range(9)) + "\n" + PAGE, "lines that end with an ellipsis"),
        (PAGE + " 123" * 60, "words without letters"),
        ("water wheel mill stone " * 20, "no stop words"),
    ],
)
def test_gopher_drops_what_is_no_prose(text: str, why: str) -> None:
    assert not is_dropped("gopher_quality", PAGE) and is_dropped("gopher_quality", text), why


def test_words_of_symbols_do_not_make_a_text_long() -> None:
    short = "the mill and the river " * 5
    assert is_dropped("gopher_quality", short + "* " * 60) and not is_dropped("gopher_quality", short * 2)


@pytest.mark.parametrize(
    "text",
    [LONG + ("\n" + LONG[:90]) * 9, LONG + ("\n\nAnd so it was.\nIt was.") * 30, LONG + " the wheel turns" * 40],
)
def test_gopher_drops_what_repeats_itself(text: str) -> None:
    assert not is_dropped("gopher_repetition", LONG) and is_dropped("gopher_repetition", text)


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(GOOD.format(n)[:-1] for n in range(9)),  # no line is ended
        PAGE + "\n" + "\n".join(f"item {n}." for n in range(40)),  # short lines
        PAGE + ("\n" + PAGE) * 2,  # said again
    ],
)
def test_fineweb_drops_lists(text: str) -> None:
    assert not is_dropped("fineweb_quality", PAGE) and is_dropped("fineweb_quality", text)


def test_c4_keeps_sentences_and_drops_pages_without_enough() -> None:
    menu = (
        "Home\nAbout us and the others\nWe use cookies to show you more of it.\nPlease turn on JavaScript to see it.\n"
    )
    mills = [f"Mill number {n} stands by the river[{n}]." for n in range(5)]
    verdict = RULES["c4"]().judge(texts_of([menu + "\n".join(mills), "\n".join(mills[:4]), "x\n" * 9]))
    assert verdict.drop.tolist() == [False, True, True]
    assert verdict.text[0].as_py().splitlines() == [f"Mill number {n} stands by the river." for n in range(5)]


@pytest.mark.parametrize("word", ["Lorem ipsum dolor sit amet.", "It has { a bracket in it."])
def test_c4_drops_pages_with(word: str) -> None:
    assert not is_dropped("c4", PAGE) and is_dropped("c4", PAGE + "\n" + word)
    assert is_dropped("c4", PAGE + "\n" + word, curly_brackets=True) is ("{" not in word)


def test_c4_measures_words_in_lines_that_are_sentences() -> None:
    page = PAGE + "\nIt was " + "w" * 1001 + " again."
    verdict = RULES["c4"]().judge(texts_of([page, page.replace("w" * 1001, "w" * 1000)]))
    assert [len(text.splitlines()) for text in verdict.text.to_pylist()] == [6, 7]
