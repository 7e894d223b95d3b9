"""Is text shown as soon as it is certain, and never a piece of what is to be left out?"""

import random

import pytest

from data_ops.documents.tokenizer import Tokenizer, byte_tokenizer, train_bpe
from ray_jobs.serving.text import TextStream

TEXT = "añ🙂! A heron stood in the mill-race; the stone turned."
BYTES, BPE = byte_tokenizer(), train_bpe([TEXT, "the mill, the stone, the heron"], 300)


def shown(tokenizer: Tokenizer, text: str, stops: tuple[str, ...] = (), before: str = "") -> list[str]:
    stream = TextStream(tokenizer, tokenizer.encode([before])[0].as_py(), stops)
    pieces = [stream.add(token) for token in tokenizer.encode([text])[0].as_py() if not stream.is_stopped]
    return [*pieces, stream.end()]


@pytest.mark.parametrize("tokenizer", [BYTES, BPE])
@pytest.mark.parametrize("before", ["", "Once é"])
def test_pieces_are_the_text_whatever_was_before(tokenizer: Tokenizer, before: str) -> None:
    assert "".join(shown(tokenizer, TEXT, before=before)) == TEXT


def test_what_is_no_whole_character_is_held_back_until_it_is_or_the_end() -> None:
    assert shown(BYTES, "ñ🙂") == ["", "ñ", "", "", "", "🙂", ""]
    stream = TextStream(BYTES)
    assert ([stream.add(byte) for byte in "🙂".encode()[:2]], stream.end()) == (["", ""], "\ufffd")
    stream = TextStream(BYTES)
    assert [stream.add(byte) for byte in (0xFF, ord("a"))] == ["", "\ufffda"], "bytes that are no text are shown once"


def test_an_answer_may_complete_a_character_that_the_prompts_tokens_began() -> None:
    stream = TextStream(BYTES, list("a🙂".encode()[:3]))
    assert [stream.add(byte) for byte in (*"🙂".encode()[2:], ord("b"))] == ["", "🙂", "b"]


def test_a_stop_sequence_ends_the_text_before_it_and_none_of_it_is_shown() -> None:
    assert shown(BYTES, "to the mill-race", ("mill",)) == ["t", "o", " ", "t", "h", "e", " ", "", "", "", "", ""]
    assert "".join(shown(BYTES, "aab aac", ("aac", "zz"))) == "aab "
    assert "".join(shown(BYTES, "aaab", ("aab",))) == "a", "what begins anew within what was held back is found"
    assert "".join(shown(BYTES, "the mil", ("mill",))) == "the mil", "what did not come is shown at the end"


@pytest.mark.parametrize("tokenizer", [BYTES, BPE])
def test_a_text_ends_at_its_first_stop_wherever_tokens_are_cut(tokenizer: Tokenizer) -> None:
    draw = random.Random(3)
    for _ in range(200):
        text = "".join(draw.choice("abc ") for _ in range(30))
        stops = tuple("".join(draw.choice("abc ") for _ in range(draw.randint(1, 4))) for _ in range(2))
        first = min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))
        assert "".join(shown(tokenizer, text, stops)) == text[:first]
