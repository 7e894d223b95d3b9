"""How does a conversation become a prompt? By the store's chat template, else the one that came with the model.

A message that spells a special token is refused, because it could speak in another's name.
"""

import time
from collections.abc import Mapping, Sequence

from cluster.http.asgi import RefusedError
from data_ops.conversations.rendering import Renderer
from data_ops.conversations.template import ChatTemplate


class ChatPrompts:
    """A template at work; `ends` are the tokens at which an answer ends."""

    def __init__(self, template: ChatTemplate) -> None:
        self.ends, self._renderer = template.ends, Renderer(template)

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Write a conversation out, up to where the answer begins. RefusedError where the template takes it not."""
        rendered = self._renderer.render(messages, time.time(), asks=True)
        if rendered.refusal is not None:
            raise RefusedError(rendered.refusal, 400, "messages")
        return rendered.text


def check_messages(messages: Sequence[Mapping[str, str]], special: Mapping[str, int]) -> None:
    """RefusedError where a message spells a special token."""
    for number, message in enumerate(messages):
        if spelled := next((token for token in special if token in message["content"]), None):
            raise RefusedError(
                f"message {number} spells the special token {spelled}; leave it out, or write it otherwise",
                400,
                "messages",
            )
