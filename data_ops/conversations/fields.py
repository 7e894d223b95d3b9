"""Where does a record keep its conversation? In a list of messages, or in a prompt and its completion."""

from collections.abc import Callable
from typing import NamedTuple

from data_ops.conversations.messages import UnfitError, Utterance, check_answers, read_exchange, read_messages
from data_ops.conversations.transcript import write_transcript


class ConversationFields(NamedTuple):
    """Names of fields, or paths to nested ones."""

    messages: str = "messages"
    prompt: str = "prompt"
    completion: str = "completion"


def transcript_of(fields: ConversationFields, get: Callable[[str], object]) -> str:
    """Read a record's conversation as a transcript; `get` gives a field, None where it is absent.

    A record that has messages is read by them, else by prompt and completion. UnfitError where it cannot be read.
    """
    messages = _messages(fields, get)
    check_answers(messages)
    return write_transcript(messages)


def _messages(fields: ConversationFields, get: Callable[[str], object]) -> list[Utterance]:
    if (messages := get(fields.messages)) is not None:
        return read_messages(messages)
    prompt, completion = get(fields.prompt), get(fields.completion)
    if prompt is None or completion is None:
        raise UnfitError(f"there is no {fields.messages}, nor {fields.prompt}, {fields.completion}", "missing_messages")
    return read_exchange(prompt, completion)
