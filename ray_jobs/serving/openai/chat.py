"""How does a conversation become a prompt? By the chat template that came with the model's tokenizer.

A template is text from outside: it runs in jinja2's sandbox, with nothing but the messages. Its own special tokens
count; a message that spells one is refused, because it could speak in another's name.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NoReturn

from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from cluster.http.asgi import RefusedError
from data_ops.documents.tokenizer import Tokenizer

TEMPLATE, SETTINGS, GENERATION = "chat_template.jinja", "tokenizer_config.json", "generation_config.json"


@dataclass(frozen=True)
class ChatTemplate:
    """A template and what it names; ends: the tokens at which an answer ends."""

    source: str
    tokens: Mapping[str, str] = field(default_factory=dict)
    ends: frozenset[int] = frozenset()

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Write a conversation out, up to where the answer begins. RefusedError where the template takes it not."""
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "sort_keys": False}
        environment.globals |= {"raise_exception": _refuse, "strftime_now": lambda form: datetime.now().strftime(form)}
        try:
            template = environment.from_string(self.source)
            return template.render(messages=messages, add_generation_prompt=True, **self.tokens)
        except (TemplateError, TypeError, ValueError) as error:
            if isinstance(error, RefusedError):
                raise
            raise RefusedError(f"the model's chat template does not take these messages: {error}", 400) from None


def chat_template(files: Mapping[str, bytes], tokenizer: Tokenizer) -> ChatTemplate | None:
    """Find the template among the files that came with a model; None where there is none."""
    settings, generation = _json(files.get(SETTINGS)), _json(files.get(GENERATION))
    source = files[TEMPLATE].decode() if TEMPLATE in files else settings.get("chat_template")
    if isinstance(source, list):  # several by name
        named = {str(one.get("name")): one.get("template") for one in source if isinstance(one, dict)}
        source = named.get("default")
    if not isinstance(source, str):
        return None
    tokens = {name: _content(settings.get(name)) for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
    known = tokenizer.special_tokens
    eos = generation.get("eos_token_id")
    ends = {one for one in (eos if isinstance(eos, list) else [eos]) if isinstance(one, int)}
    ends |= {known[tokens["eos_token"]]} if tokens["eos_token"] in known else set()
    return ChatTemplate(source, {k: v for k, v in tokens.items() if v}, frozenset({*ends, tokenizer.document_token}))


def check_messages(messages: Sequence[Mapping[str, str]], special: Mapping[str, int]) -> None:
    """RefusedError where a message spells a special token."""
    for number, message in enumerate(messages):
        if spelled := next((token for token in special if token in message["content"]), None):
            raise RefusedError(
                f"message {number} spells the special token {spelled}; leave it out, or write it otherwise",
                400,
                "messages",
            )


def _refuse(sentence: str) -> NoReturn:
    raise RefusedError(f"the model's chat template refuses these messages: {sentence}", 400, "messages")


def _json(data: bytes | None) -> dict[str, object]:
    try:
        value = json.loads(data or b"{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _content(token: object) -> str:
    """The text of a token, which older files keep as an object."""
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")
