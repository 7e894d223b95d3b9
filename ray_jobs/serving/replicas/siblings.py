"""How does a replica ask the others? Over sockets in a private folder, in HTTP, as a client would.

An answer is held by the replica that gave it, and every replica counts its own requests, so feedback and metrics go
round; nothing else does.
"""

import asyncio
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ray_jobs.serving.replicas.group import ReplicaPlace

HEADER = b"x-headrace-replica"  # a request that bears it is answered by this replica alone
WAIT_S = 10.0


class SiblingReply(NamedTuple):
    """What another replica answered."""

    number: int
    status: int
    body: bytes


class Siblings:
    """The other replicas; none where a server is alone."""

    def __init__(self, place: ReplicaPlace | None) -> None:
        self._place = place

    @property
    def number(self) -> int:
        """This replica's own number."""
        return self._place.number if self._place else 0

    @property
    def are_there(self) -> bool:
        """Are there others?"""
        return self._place is not None

    def open(self) -> list[socket.socket]:
        """Return the socket at which the others ask this one; none where there are none."""
        if self._place is None:
            return []
        own = socket.socket(socket.AF_UNIX)
        own.bind(str(self._place.door))
        own.listen()
        return [own]

    async def ask(self, path: str, body: bytes | None, headers: Mapping[bytes, str]) -> list[SiblingReply]:
        """Ask all others the same, GET or POST; who does not answer is left out."""
        place = self._place
        if place is None or HEADER in headers:
            return []
        request = _request(path, body, headers)
        others = [number for number in range(place.total) if number != place.number]
        replies = await asyncio.gather(*(_ask(number, place.door_of(number), request) for number in others))
        return [reply for reply in replies if reply is not None]


def _request(path: str, body: bytes | None, headers: Mapping[bytes, str]) -> bytes:
    lines = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1", "host: replica", "connection: close"]
    lines += [f"{HEADER.decode()}: 1", f"content-length: {len(body or b'')}"]
    if token := headers.get(b"authorization"):
        lines.append(f"authorization: {token}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


async def _ask(number: int, path: Path, request: bytes) -> SiblingReply | None:
    try:
        async with asyncio.timeout(WAIT_S):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(request)
                await writer.drain()
                head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
    status = head.split(b" ", 2)
    return SiblingReply(number, int(status[1]), body) if len(status) > 1 else None
