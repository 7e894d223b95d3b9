"""Conversations and tokenizers that have the tokens of ChatML, for tests."""

from functools import cache

from hypothesis import strategies as st
from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from data_ops.conversations.messages import Utterance
from data_ops.documents.tokenizer import Tokenizer, byte_tokenizer, train_bpe

WORDS = "the water of a river turns its wheel and nothing is lost. Hé 👍\n\n  {x: 1}\t◀ ▶ ◇ user: assistant\n"
ODD = st.characters(codec="utf-8", exclude_characters="<")
CONTENTS = st.one_of(st.text(ODD, max_size=12), st.lists(st.sampled_from(WORDS.split(" ")), max_size=9).map(" ".join))


def message_of(role: str) -> st.SearchStrategy[Utterance]:
    """Messages of a role that say something."""
    some = CONTENTS.map(lambda text: f"{text}." if role == "assistant" else text)
    return some.map(lambda text: Utterance(role, text))


TALKS = st.tuples(
    st.lists(message_of("system"), max_size=1),
    st.lists(st.tuples(message_of("user"), message_of("assistant")), min_size=1, max_size=4),
    st.lists(message_of("user"), max_size=1),
).map(lambda parts: [*parts[0], *(message for turn in parts[1] for message in turn), *parts[2]])


@cache
def chatml_tokenizers() -> tuple[Tokenizer, Tokenizer]:
    """Bytes, and a trained BPE whose tokens are longer, both with the tokens of ChatML."""
    found = []
    for plain in (byte_tokenizer(), train_bpe([WORDS * 3, "<user>\nassistant\nDown the river"], 400)):
        backend = Backend.from_str(plain.to_json())
        backend.add_special_tokens([AddedToken(name, special=True) for name in ("<|im_start|>", "<|im_end|>")])
        found.append(Tokenizer.from_json(backend.to_str()))
    return found[0], found[1]
