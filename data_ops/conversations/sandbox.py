"""What does a chat template make of messages? A program of its own, because a template is code from outside.

It is started by `rendering.py` with nothing but a path to jinja2, may take 2 GiB of memory and, of a processor, 5 s a
conversation, and answers on its standard output: a line of JSON for each line. It imports nothing of
ours. The environment is that of transformers (immutable sandbox, their filters and functions, `{% generation %}`).
"""

import json
import resource
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NoReturn

from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

MEMORY_BYTES = 2 << 30
CPU_SECONDS = 5.0  # of a conversation; an ordinary one takes a thousandth of one
MOST_CHARS = 64 << 20
BEGIN, END = "\ufdd0", "\ufdd1"  # around what the template marks as generated; no characters, so no text has them


class GenerationBlock(Extension):
    """`{% generation %}` ... `{% endgeneration %}`: what the model has to say itself."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 has it

    def parse(self, parser: Parser) -> nodes.Node:
        """Read the tag and all up to its end; what that writes is put between marks."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Callable[[], str]) -> str:
        return f"{BEGIN}{caller()}{END}"


def answer_lines() -> None:
    """Read the template, then answer line by line until the input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    signal.signal(signal.SIGPROF, _too_long)
    asked = json.loads(sys.stdin.readline())
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        try:
            answer = _answer(asked["source"], asked["tokens"], json.loads(line))
        except Exception as error:  # noqa: BLE001 - whatever a template does is an answer
            answer = {"refusal": _sentence(error)}
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _answer(source: str, tokens: dict[str, str], job: dict[str, object]) -> dict[str, object]:
    """Render a conversation; beside it, where the template marks no answer, what stands before each of them."""
    messages, date = job["messages"], datetime.fromtimestamp(float(str(job["date"])), UTC)
    assert isinstance(messages, list)
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationBlock, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {"raise_exception": _refuse, "strftime_now": date.strftime}
    template = environment.from_string(source)

    def render(some: list[object], asks: bool) -> str:
        text = str(template.render(messages=some, add_generation_prompt=asks, **tokens))
        if len(text) > MOST_CHARS:
            raise ValueError(f"it makes {len(text)} characters of {len(some)} messages")
        return text

    if job["asks"]:
        return {"text": render(messages, True).replace(BEGIN, "").replace(END, "")}
    text = render(messages, False)
    if BEGIN in text:
        return {"text": text}
    answers = [n for n, message in enumerate(messages) if message["role"] == "assistant"]
    return {"text": text, "prompts": [render(messages[:n], True) for n in answers]}


def _to_json(value: object, ensure_ascii: bool = False, indent: int | None = None, sort_keys: bool = False) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, sort_keys=sort_keys)


class _RefusedError(ValueError):
    """The template refuses the messages, in its own words."""


def _refuse(sentence: str) -> NoReturn:
    raise _RefusedError(sentence)


def _too_long(signum: int, frame: object) -> NoReturn:
    raise TimeoutError(f"it did not end within {CPU_SECONDS:g} s")


def _sentence(error: Exception) -> str:
    if isinstance(error, _RefusedError):
        return f"the chat template refuses these messages: {str(error)[:300]}"
    what = f"it wanted more than {MEMORY_BYTES >> 30} GiB of memory" if isinstance(error, MemoryError) else str(error)
    return f"the chat template does not take these messages: {what[:300] or type(error).__name__}"


if __name__ == "__main__":
    answer_lines()
