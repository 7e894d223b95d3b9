"""In which form is a conversation put before a model? In that of the chat template that came with its tokenizer.

A tokenizer without one gets ChatML where it has its tokens, else the roles as plain words, each answer ended by the
document token. Which template a store has is written down when its first conversation is taken in.
"""

import hashlib
import json
from collections.abc import Mapping

import msgspec

from data_ops.documents.tokenizer import Tokenizer

TEMPLATE, SETTINGS, GENERATION = "chat_template.jinja", "tokenizer_config.json", "generation_config.json"
NAMED_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")
CHATML_TOKENS = ("<|im_start|>", "<|im_end|>")
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS = (
    "{% for message in messages %}{{ message['role'] | capitalize }}:\n{{ message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '' }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:\n{% endif %}"
)


class ChatTemplate(msgspec.Struct, frozen=True):
    """A template and what it names; ends: the tokens at which an answer ends; origin: whose it is, for people."""

    source: str
    tokens: tuple[tuple[str, str], ...] = ()  # what it names, as bos_token, and the text of that
    ends: frozenset[int] = frozenset()
    origin: str = "the model's"

    @property
    def fingerprint(self) -> str:
        """The same for templates that make the same of every conversation."""
        facts = json.dumps([self.source, sorted(self.tokens)])
        return hashlib.sha256(facts.encode()).hexdigest()[:16]


def template_of(files: Mapping[str, bytes], tokenizer: Tokenizer) -> ChatTemplate | None:
    """Find the template among the files that came with a model; None where there is none."""
    settings, generation = _json(files.get(SETTINGS)), _json(files.get(GENERATION))
    source = files[TEMPLATE].decode() if TEMPLATE in files else settings.get("chat_template")
    if isinstance(source, list):  # several by name
        others = {str(one.get("name")): one.get("template") for one in source if isinstance(one, dict)}
        source = others.get("default")
    if not isinstance(source, str):
        return None
    tokens = {name: _content(settings.get(name)) for name in NAMED_TOKENS}
    known = tokenizer.special_tokens
    eos = generation.get("eos_token_id")
    ends = {one for one in (eos if isinstance(eos, list) else [eos]) if isinstance(one, int)}
    ends |= {known[tokens["eos_token"]]} if tokens["eos_token"] in known else set()
    named = tuple((name, text) for name, text in tokens.items() if text)
    return ChatTemplate(source, named, frozenset({*ends, tokenizer.document_token}))


def default_template(tokenizer: Tokenizer) -> ChatTemplate:
    """The template for a tokenizer that brings none."""
    known = tokenizer.special_tokens
    if all(token in known for token in CHATML_TOKENS):
        ends = frozenset({known[CHATML_TOKENS[1]], tokenizer.document_token})
        return ChatTemplate(CHATML, (), ends, "ChatML, as the tokenizer has its tokens and no template")
    document = next(name for name, token in known.items() if token == tokenizer.document_token)
    ends = frozenset({tokenizer.document_token})
    return ChatTemplate(WORDS, (("eos_token", document),), ends, "plain words, as the tokenizer has no template")


def _json(data: bytes | None) -> dict[str, object]:
    try:
        value = json.loads(data or b"{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _content(token: object) -> str:
    """The text of a token, which older files keep as an object."""
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")
