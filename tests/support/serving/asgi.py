"""Ask an ASGI application without a socket: as a server would call it, in this process."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

Application = Callable[..., Awaitable[None]]


class Reply(NamedTuple):
    """What came back."""

    status: int
    headers: dict[bytes, bytes]
    parts: list[bytes]

    @property
    def body(self) -> bytes:
        """All of it."""
        return b"".join(self.parts)

    def json(self) -> Any:
        """Its value."""
        return json.loads(self.body)

    def events(self) -> list[Any]:
        """The values of server-sent events, the last of which has to say that it was."""
        lines = [line for line in self.body.decode().split("\n\n") if line]
        assert lines[-1] == "data: [DONE]", lines[-1]
        return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


async def request(
    application: Application,
    path: str,
    body: object = None,
    headers: Mapping[str, str] | None = None,
    gone_after_s: float | None = None,
) -> Reply:
    """GET, or POST with a body; gone_after_s: when the client hangs up."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    scope = {"type": "http", "path": path, "method": "GET" if body is None else "POST"}
    scope["headers"] = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    sent: list[Any] = []
    messages = [{"type": "http.request", "body": b"" if body is None else data, "more_body": False}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await asyncio.sleep(3600 if gone_after_s is None else gone_after_s)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await application(scope, receive, send)
    if not sent:
        return Reply(0, {}, [])
    return Reply(sent[0]["status"], dict(sent[0]["headers"]), [message.get("body", b"") for message in sent[1:]])
