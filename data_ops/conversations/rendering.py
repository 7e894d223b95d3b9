"""How is a conversation written out by a chat template that may be anybody's?

In a process of its own (sandbox.py) without our environment, so that a template that reaches out, grows or never ends
costs a sentence. Costs some 70 ms once, and 0.1 ms a conversation to talk to it.
"""

import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from data_ops.conversations.template import ChatTemplate

WALL_SECONDS = 300.0  # for one answer, on a machine that has others to serve; the processor's seconds are limited there


class Rendered(msgspec.Struct, frozen=True):
    """A conversation as the template writes it.

    prompts: what stands before each answer, as the model is asked for it; None where the template marks the answers
    itself. refusal: why there is no text.
    """

    text: str = ""
    prompts: tuple[str, ...] | None = None
    refusal: str | None = None


class Renderer:
    """A template at work; any thread may ask. The process ends with this object's own."""

    def __init__(self, template: ChatTemplate) -> None:
        self._first = msgspec.json.encode({"source": template.source, "tokens": dict(template.tokens)}) + b"\n"
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def render(self, messages: Sequence[Mapping[str, str]], date_s: float, *, asks: bool = False) -> Rendered:
        """Write a conversation out; with `asks` up to where the next answer begins.

        date_s: unix time of the date that a template may ask for.
        """
        line = msgspec.json.encode({"messages": messages, "date": date_s, "asks": asks}) + b"\n"
        with self._lock:
            try:
                answer = self._exchange(line)
            except (OSError, EOFError):
                self.close()
                return Rendered(refusal="the chat template does not take these messages: its process ended over them")
        return msgspec.json.decode(answer, type=Rendered)

    def close(self) -> None:
        """End the process; the next conversation starts another."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(OSError):  # what was not sent yet cannot be
                        pipe.close()
            process.wait()

    def __del__(self) -> None:
        self.close()

    def _exchange(self, line: bytes) -> bytes:
        if self._process is None:
            self._process = _start()
            self._send(self._process, self._first)
        self._send(self._process, line)
        return self._receive(self._process)

    def _send(self, process: subprocess.Popen[bytes], data: bytes) -> None:
        assert process.stdin is not None
        process.stdin.write(data)
        process.stdin.flush()

    def _receive(self, process: subprocess.Popen[bytes]) -> bytes:
        assert process.stdout is not None
        until, parts, out = time.monotonic() + WALL_SECONDS, list[bytes](), process.stdout.fileno()
        while not (parts and parts[-1].endswith(b"\n")):
            if not select.select([out], [], [], max(0.0, until - time.monotonic()))[0]:
                raise EOFError
            if not (part := os.read(out, 1 << 20)):
                raise EOFError
            parts.append(part)
        return b"".join(parts)


def _start() -> "subprocess.Popen[bytes]":
    """Start the program with nothing of our environment but where Python finds its packages."""
    program = str(Path(__file__).with_name("sandbox.py"))
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONUTF8": "1"}
    return subprocess.Popen(
        [sys.executable, "-P", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
