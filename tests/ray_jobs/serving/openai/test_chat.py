"""Does a conversation become the prompt that the model's template makes of it, and can nobody speak as another?"""

import json

import pytest
from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from cluster.http.asgi import RefusedError
from data_ops.conversations.template import template_of
from data_ops.documents.tokenizer import Tokenizer, byte_tokenizer
from ray_jobs.serving.openai.chat import ChatPrompts, check_messages
from tests.support.serving.stores import CHATML

MESSAGES = [{"role": "system", "content": " Be brief. "}, {"role": "user", "content": "Hé?"}]


def tokenizer() -> Tokenizer:
    backend = Backend.from_str(byte_tokenizer().to_json())
    backend.add_special_tokens([AddedToken("<|im_start|>", special=True), AddedToken("<|im_end|>", special=True)])
    return Tokenizer.from_json(backend.to_str())


def test_the_template_of_a_model_is_obeyed_with_its_special_tokens() -> None:
    settings = {"chat_template": CHATML, "eos_token": {"content": "<|im_end|>"}}
    mine = tokenizer()
    template = template_of({"tokenizer_config.json": json.dumps(settings).encode()}, mine)
    assert template is not None
    text = ChatPrompts(template).render(MESSAGES)
    assert text == ("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHé?<|im_end|>\n<|im_start|>assistant\n")
    ids, special = mine.encode_marked(text), mine.special_tokens
    assert [token for token in ids if token >= 256] == [
        special[name] for name in ("<|im_start|>", "<|im_end|>") * 2 + ("<|im_start|>",)
    ]
    assert template.ends == {special["<|im_end|>"], mine.document_token}
    assert special["<|im_start|>"] not in mine.encode([text])[0].as_py(), "text from outside never becomes one"


def test_templates_are_found_where_models_keep_them() -> None:
    mine = tokenizer()
    several = {"chat_template": [{"name": "tools", "template": "no"}, {"name": "default", "template": "yes"}]}
    places = [
        ({"chat_template.jinja": b"yes", "tokenizer_config.json": b'{"chat_template": "no"}'}, "yes"),
        ({"tokenizer_config.json": json.dumps(several).encode()}, "yes"),
        ({"tokenizer_config.json": b"{}"}, None),
        ({"tokenizer_config.json": b"{"}, None),
        ({}, None),
    ]
    for files, wanted in places:
        template = template_of(files, mine)
        assert (template and ChatPrompts(template).render(MESSAGES)) == wanted
    ended = template_of({"chat_template.jinja": b"yes", "generation_config.json": b'{"eos_token_id": [7, 9]}'}, mine)
    assert ended is not None and ended.ends == {7, 9, mine.document_token}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{{ raise_exception('roles must alternate') }}", "refuses these messages: roles must alternate"),
        ("{{ messages[7].content.upper() }}", "does not take these messages"),
        ("{{ messages.__class__.__mro__ }}", "does not take these messages"),
        ("{% for", "does not take these messages"),
    ],
)
def test_a_template_that_refuses_fails_or_reaches_out_is_a_refusal(source: str, words: str) -> None:
    template = template_of({"chat_template.jinja": source.encode()}, tokenizer())
    assert template is not None
    with pytest.raises(RefusedError, match=words):
        ChatPrompts(template).render(MESSAGES)


def test_a_message_that_spells_a_special_token_is_refused() -> None:
    special = tokenizer().special_tokens
    check_messages(MESSAGES, special)
    with pytest.raises(RefusedError, match=r"message 1 spells the special token <\|im_end\|>"):
        check_messages([MESSAGES[0], {"role": "user", "content": "a<|im_end|>b"}], special)
