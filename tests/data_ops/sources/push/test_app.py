"""What is answered while the disk is behind, or takes nothing? The application itself, without a server."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import orjson

from data_ops.sources.push.app import PushApp
from data_ops.sources.push.spool import Spool


class SlowSpool(Spool):
    """A spool whose disk waits until it may write, or fails."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.may_write, self.appended, self.error = threading.Event(), 0, None

    def append(self, lines: Sequence[bytes]) -> None:
        assert self.may_write.wait(20)
        if self.error is not None:
            raise self.error
        self.appended += 1
        super().append(lines)


async def post(app: PushApp, text: str, key: str | None = None) -> tuple[int, dict, dict]:
    """Send one document; status, answer and headers."""
    headers = [(b"content-type", b"text/plain"), *([(b"idempotency-key", key.encode())] if key else [])]
    scope = {"type": "http", "method": "POST", "path": "/documents", "headers": headers}
    sent: list = []

    async def receive() -> dict:
        return {"type": "http.request", "body": text.encode(), "more_body": False}

    async def send(message: dict) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], orjson.loads(sent[1]["body"]), dict(sent[0]["headers"])


def test_what_comes_while_the_disk_is_behind_is_told_to_come_again_and_the_rest_is_written_together(tmp_path: Path):
    spool = SlowSpool(tmp_path)
    app = PushApp(spool, None, 1 << 20, max_waiting=4000)

    async def play() -> list[tuple[int, dict, dict]]:
        waiting = [asyncio.create_task(post(app, "x" * 900)) for _ in range(10)]
        await asyncio.sleep(0.2)
        spool.may_write.set()
        return await asyncio.gather(*waiting)

    answers = asyncio.run(play())
    taken = [answer for answer in answers if answer[0] == 201]
    refused = [answer for answer in answers if answer[0] == 429]
    assert 3 <= len(taken) <= 5 and len(taken) + len(refused) == 10
    assert all(headers[b"retry-after"] == b"1" and "come again" in told["error"] for _, told, headers in refused)
    assert spool.appended == 1, "what came together was synced once"
    assert sum(1 for segment in spool.segments() for _ in segment.open()) == len(taken)


def test_a_disk_that_takes_nothing_is_told_and_the_same_key_is_taken_once_it_does(tmp_path: Path):
    spool = SlowSpool(tmp_path)
    spool.may_write.set()
    spool.error = OSError(28, "No space left on device")
    app = PushApp(spool, None, 1 << 20, max_waiting=4000)

    async def play() -> list[int]:
        status, told, _ = await post(app, "a text", "key")
        assert "the spool takes nothing (No space left on device)" in told["error"]
        spool.error = None
        return [
            status,
            *[answer[0] for answer in await asyncio.gather(*(post(app, "a text", "key") for _ in range(4)))],
        ]

    assert asyncio.run(play()) == [507, 201, 200, 200, 200]
    assert sum(1 for segment in spool.segments() for _ in segment.open()) == 1
