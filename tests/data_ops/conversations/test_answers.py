"""Are the tokens of answers, and no others, the ones that are learnt, and is a template that hides them refused?"""

import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers

from data_ops.conversations.answers import ConversationTokens, marked_spans, try_template
from data_ops.conversations.messages import UnfitError, Utterance
from data_ops.conversations.rendering import Rendered
from data_ops.conversations.sandbox import BEGIN, END
from data_ops.conversations.template import CHATML, ChatTemplate, default_template
from data_ops.conversations.transcript import read_transcript, write_transcript
from data_ops.documents.tokenizer import Tokenizer, byte_tokenizer
from tests.support.talks.made import TALKS, chatml_tokenizers

MARKED = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' %}{% generation %}"
    "{{ m['content'] }}<|im_end|>{% endgeneration %}{% else %}{{ m['content'] }}<|im_end|>{% endif %}{{ '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TALK = [Utterance("user", "Why?"), Utterance("assistant", "So it is.")]
TALK += [Utterance("user", "No."), Utterance("assistant", "Yes.")]


def plain_chatml(messages):
    return "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in messages)


@pytest.mark.slow
@settings(max_examples=40)
@given(TALKS, st.sampled_from([CHATML, MARKED]), st.sampled_from([0, 1]))
def test_tokens_are_those_of_the_whole_and_the_learnt_ones_spell_the_answers_and_their_ends(messages, source, which):
    tokenizer = chatml_tokenizers()[which]
    text = write_transcript(messages)
    ids = ConversationTokens(ChatTemplate(source), tokenizer).encode(text, 0.0).ids
    messages = read_transcript(text)
    back = np.where(ids < 0, ~ids, ids)
    assert back.tolist() == tokenizer.encode_marked(plain_chatml(messages))
    runs, end = [[]], tokenizer.special_tokens["<|im_end|>"]
    for token in ids[ids >= 0].tolist():
        runs[-1].append(token)
        runs += [[]] * (token == end)
        runs[-1] = list(runs[-1])
    answers = [message.content for message in messages if message.role == "assistant"]
    assert runs.pop() == [] and [tokenizer.decode(run[:-1]) for run in runs] == answers
    assert all(run[-1] == end for run in runs), "that it ends is learnt"


def test_with_no_template_roles_are_words_and_an_answer_ends_with_the_document_token():
    tokenizer = byte_tokenizer()
    stored = ConversationTokens(default_template(tokenizer), tokenizer).encode(write_transcript(TALK), 0.0)
    learnt = stored.ids[stored.ids >= 0].tolist()
    assert learnt == [*b"So it is.", tokenizer.document_token, *b"Yes.", tokenizer.document_token]
    assert stored.num_bytes == len("So it is.Yes.")
    assert default_template(chatml_tokenizers()[0]).source == CHATML


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (CHATML.replace("message['content']", "message['content'] | upper"), "writes answer 0 otherwise"),
        (CHATML.replace("<|im_end|>\n", " "), "ends answer 1 with no special token"),
        (CHATML.replace("assistant\n{% endif", "Assistant\n{% endif"), "asks for an answer by .* otherwise"),
        (MARKED.replace("{% generation %}", "").replace("{% endgeneration %}", "{% generation %}{% endgeneration %}"),
         "writes answer 0 otherwise"),
        ("{{ raise_exception('only pairs') }}", "refuses these messages: only pairs"),
        ("{% for", "does not take these messages"),
    ],
)  # fmt: skip
def test_a_template_whose_answers_cannot_be_told_is_refused_with_a_sentence(source, words):
    with pytest.raises(ValueError, match=words):
        try_template(ChatTemplate(source), chatml_tokenizers()[0])


def test_a_token_across_the_beginning_of_an_answer_makes_it_unfit():
    tokenizer = chatml_tokenizers()[1]
    joined = CHATML.replace("{{ message['role'] }}\n", "{{ message['role'] }}: ").replace("assistant\n", "assistant: ")
    speech = ConversationTokens(ChatTemplate(joined), tokenizer)
    with pytest.raises(UnfitError, match="a token is of an answer and of what is beside it") as error:
        speech.encode(write_transcript([Utterance("user", "Why?"), Utterance("assistant", "water")]), 0.0)
    assert error.value.reason == "unclear_answer"


@pytest.mark.parametrize("scheme", ["first", "always", "never"])
def test_pieces_that_hold_the_space_before_a_word_are_told_apart_too(scheme):
    """As SentencePiece makes them, with the templates of Llama 2 and Mistral."""
    pieces = [("<unk>", 0.0), *((character, -5.0) for character in f"{string.printable[:95]}▁"), ("▁So", -2.0)]
    backend = Backend(models.Unigram(pieces, 0, False))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    backend.decoder = decoders.Metaspace()
    backend.add_special_tokens(["<s>", "</s>"])
    source = (
        "{{ '<s>' }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]{% else %}"
        " {{ m['content'] }} </s>{% endif %}{% endfor %}"
    )
    speech = ConversationTokens(ChatTemplate(source), Tokenizer.from_json(backend.to_str()))
    ids = speech.encode(write_transcript(TALK), 0.0).ids
    learnt = "".join(backend.id_to_token(int(token)) for token in ids[ids >= 0])
    assert learnt == "▁So▁it▁is.▁</s>▁Yes.▁</s>"


def test_a_template_that_forgets_what_it_said_before_makes_the_conversation_unfit():
    """As those that leave out the thoughts of earlier answers."""
    said = "message['content'] if loop.last or message['role'] == 'user' else message['content'][:2]"
    forgetful = CHATML.replace("message['content']", said)
    speech = ConversationTokens(ChatTemplate(forgetful), chatml_tokenizers()[0])
    with pytest.raises(UnfitError, match="writes answer 0 otherwise"):
        speech.encode(write_transcript(TALK), 0.0)
    assert speech.encode(write_transcript(TALK[:2]), 0.0).num_bytes == len("So it is.")


def test_marks_within_marks_are_refused():
    assert marked_spans(f"a{BEGIN}bc{END}d{BEGIN}{END}") == ("abcd", [(1, 3), (4, 4)])
    with pytest.raises(UnfitError, match="within another"):
        marked_spans(f"{BEGIN}a{BEGIN}b{END}{END}")


def test_more_tokens_than_are_allowed_and_text_that_is_no_talk_are_named():
    speech = ConversationTokens(ChatTemplate(CHATML), chatml_tokenizers()[0])
    with pytest.raises(UnfitError, match=r"it is \d+ tokens, max_tokens allows 9"):
        speech.encode(write_transcript(TALK), 0.0, 9)
    with pytest.raises(UnfitError, match="begins with 'plain'"):
        speech.encode("plain", 0.0)
    speech.renderer.render = lambda *_: Rendered(refusal="no")
    with pytest.raises(UnfitError, match="no"):
        speech.encode(write_transcript(TALK), 0.0)
