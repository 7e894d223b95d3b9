"""Is a request read up to its limit and no further, and let in with its token alone?"""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.http.asgi import RefusedError, check_token, headers_of, read_body, send_whole


def body_of(*parts: bytes, ends: bool = True, headers: dict[bytes, str] | None = None, most: int = 10) -> bytes:
    messages: Iterator[dict[str, Any]] = iter(
        [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        + [{"type": "http.request"} if ends else {"type": "http.disconnect"}]
    )

    async def receive() -> dict[str, Any]:
        return next(messages)

    return asyncio.run(read_body(headers or {}, receive, most, "send less"))


def test_a_body_is_read_in_parts_up_to_its_limit() -> None:
    assert body_of(b"abc", b"", b"defghij") == b"abcdefghij"
    for headers in ({}, {b"content-length": "11"}, {b"content-length": "eleven"}):
        with pytest.raises(RefusedError, match="may hold 10 bytes; send less") as caught:
            body_of(b"abc", b"defghijk", headers=headers)
        assert caught.value.status == 413
    with pytest.raises(RefusedError, match="ended after 3 bytes"):
        body_of(b"abc", ends=False)


def test_a_token_is_asked_for_where_there_is_one() -> None:
    check_token({}, None, "/")
    check_token(headers_of({"headers": [(b"Authorization", b"Bearer secret")]}), "secret", "/")
    for given in ({}, {b"authorization": "secret"}, {b"authorization": "Bearer secre"}):
        with pytest.raises(RefusedError, match="the token for / is missing or wrong") as caught:
            check_token(given, "secret", "/")
        assert caught.value.status == 401


def test_who_is_told_to_come_again_is_told_when() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(send_whole(send, 429, b"{}"))
    asyncio.run(send_whole(send, 200, b"{}"))
    assert [(b"retry-after", b"1") in message["headers"] for message in sent[::2]] == [True, False]
