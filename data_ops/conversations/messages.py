"""Which messages does a record hold: `messages` of roles and contents, or a prompt and its completion?

The two forms are those of TRL, OpenAI and axolotl; `from` and `value` of ShareGPT are read as role and content. What
would be trained otherwise than it was meant (a call of a tool, a picture, a message of weight 0) is refused: UnfitError
has the reason under which the record is quarantined, and a sentence that names the message.
"""

from collections.abc import Sequence
from typing import NamedTuple

import orjson

ROLES = ("system", "user", "assistant", "tool")
OTHER_NAMES = {"human": "user", "gpt": "assistant", "developer": "system"}


class Utterance(NamedTuple):
    """What one side says."""

    role: str  # one of ROLES
    content: str


class UnfitError(ValueError):
    """A record that is no conversation to learn from; `reason` is one of REASONS."""

    def __init__(self, sentence: str, reason: str) -> None:
        super().__init__(sentence)
        self.reason = reason


def read_messages(value: object) -> list[Utterance]:
    """Read a list of messages, or a text that is one in JSON."""
    if isinstance(value, str):
        text = value
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            raise UnfitError(f"the messages are a text that is no JSON: {text[:40]}", "bad_message") from None
    if not isinstance(value, list) or not value:
        raise UnfitError(f"the messages are {_what(value)}, not a list of them", "bad_message")
    return [_message(number, each) for number, each in enumerate(value)]


def read_exchange(prompt: object, completion: object) -> list[Utterance]:
    """Read a prompt and its completion: texts of the user and the assistant, or lists of messages."""
    asked = [Utterance("user", prompt)] if isinstance(prompt, str) else read_messages(prompt)
    told = [Utterance("assistant", completion)] if isinstance(completion, str) else read_messages(completion)
    return [*asked, *told]


def check_answers(messages: Sequence[Utterance]) -> None:
    """UnfitError where nothing could be learnt: no message of the assistant, or an empty one."""
    answers = [number for number, message in enumerate(messages) if message.role == "assistant"]
    if not answers:
        raise UnfitError(f"none of the {len(messages)} messages is an answer of the assistant", "no_answer")
    if empty := [number for number in answers if not messages[number].content.strip()]:
        raise UnfitError(f"message {empty[0]}, an answer, is empty", "no_answer")


def _message(number: int, value: object) -> Utterance:
    if not isinstance(value, dict):
        raise UnfitError(f"message {number} is {_what(value)}, not an object with role and content", "bad_message")
    role = value.get("role", value.get("from"))
    known = OTHER_NAMES.get(role, role) if isinstance(role, str) else None
    if known not in ROLES:
        there = f"message {number} has role {str(role)[:40]}"
        raise UnfitError(f"{there}, which is none of {', '.join(ROLES)}", "unknown_role")
    if value.get("tool_calls") or value.get("function_call"):
        raise UnfitError(f"message {number} calls tools, which are not trained", "bad_message")
    if value.get("weight") not in (None, 1) or value.get("train") not in (None, True):
        raise UnfitError(f"message {number} has a weight of its own; all answers are learnt alike", "bad_message")
    content = value.get("content", value.get("value"))
    if isinstance(content, list):
        content = _joined(number, content)
    if not isinstance(content, str):
        raise UnfitError(f"message {number} has {_what(content)} as its content, not a text", "bad_message")
    try:
        content.encode()
    except UnicodeEncodeError:
        raise UnfitError(f"message {number} holds half a surrogate pair", "bad_utf8") from None
    return Utterance(known, content)


def _joined(number: int, parts: list[object]) -> str:
    texts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in parts]
    if not all(isinstance(text, str) for text in texts):
        raise UnfitError(f"message {number} has a part that is no text", "bad_message")
    return "".join(str(text) for text in texts)


def _what(value: object) -> str:
    if value is None:
        return "nothing"
    return "empty" if value == [] else f"of type {type(value).__name__}"
