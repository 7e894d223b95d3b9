"""How do our endpoints take a request and answer it? Plain ASGI: where each request costs, a framework would cost most.

What is not taken is raised as a RefusedError, and told in the shape that the endpoint's clients know.
"""

import hmac
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]  # as ASGI has them
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
JSON = b"application/json"


class RefusedError(ValueError):
    """A request that is not taken: an HTTP status and a sentence; param: which of its fields is wrong."""

    def __init__(self, sentence: str, status: int, param: str | None = None) -> None:
        super().__init__(sentence, status, param)
        self.status, self.sentence, self.param = status, sentence, param


def headers_of(scope: Scope) -> dict[bytes, str]:
    """Return the headers of a request by their names in small letters."""
    return {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}


def check_token(headers: Mapping[bytes, str], token: str | None, path: str) -> None:
    """RefusedError unless a request bears the token; None: anybody may ask."""
    given = headers.get(b"authorization", "")
    if token is not None and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        raise RefusedError(f"the token for {path} is missing or wrong; send Bearer TOKEN", 401)


async def read_body(headers: Mapping[bytes, str], receive: Receive, most: int, mend: str) -> bytes:
    """Read a body of at most so many bytes; RefusedError where it is longer, with what to do, or ends too early."""
    too_long = RefusedError(f"a request may hold {most} bytes; {mend}", 413)
    length = headers.get(b"content-length", "0")
    if length.isdecimal() and int(length) > most:
        raise too_long
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RefusedError(f"the request ended after {size} bytes, before its body did", 400)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise too_long
        if not message.get("more_body"):
            return b"".join(parts)


async def send_whole(send: Send, status: int, body: bytes, content_type: bytes = JSON) -> None:
    """Answer with one body; who is told to come again is told when."""
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    headers += [(b"retry-after", b"1")] * (status == 429)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
