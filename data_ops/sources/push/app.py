"""What answers `POST /documents`? Plain ASGI: one document a request is where a framework would cost most.

Requests that come within two milliseconds are written and synced together (group commit), in a thread, and answered
when they are durable. What waits for the disk is bounded in bytes; beyond it a request is told to come again (429).
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import orjson

from cluster.http.asgi import Receive, RefusedError, Scope, Send, check_token, headers_of, read_body, send_whole
from data_ops.sources.push.documents import SpoolLine, lines_of
from data_ops.sources.push.keys import Keys
from data_ops.sources.push.spool import Spool, read_lines_back

GATHER_S = 0.002
MAX_KEY_CHARS = 200


class Committer:
    """Writes what requests bring into the spool, many at once."""

    def __init__(self, spool: Spool, max_waiting_bytes: int) -> None:
        self._spool, self._max_waiting_bytes = spool, max_waiting_bytes
        self._waiting: list[tuple[Sequence[bytes], asyncio.Future[None]]] = []
        self._waiting_bytes = 0
        self._is_writing = False

    async def write(self, lines: Sequence[bytes]) -> None:
        """Return once the lines are durable. RefusedError where too much waits, or the disk does not take them."""
        size = sum(map(len, lines))
        if self._waiting_bytes and self._waiting_bytes + size > self._max_waiting_bytes:
            raise RefusedError(f"{self._waiting_bytes} bytes wait for the disk; come again in a second", 429)
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((lines, done))
        self._waiting_bytes += size
        if not self._is_writing:
            self._is_writing = True
            self._task = asyncio.create_task(self._write_all())
        try:
            await asyncio.shield(done)
        finally:
            self._waiting_bytes -= size

    async def _write_all(self) -> None:
        await asyncio.sleep(GATHER_S)
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await asyncio.to_thread(self._spool.append, [line for lines, _ in batch for line in lines])
                failure = None
            except OSError as error:
                sentence = f"the spool takes nothing ({error.strerror}); free space and send again"
                failure = RefusedError(sentence, 507)
            for _, done in batch:
                done.set_result(None) if failure is None else done.set_exception(failure)
        self._is_writing = False


class PushApp:
    """The ASGI application: takes documents into one spool."""

    def __init__(self, spool: Spool, token: str | None, max_body: int, max_waiting: int) -> None:
        """token: what a request must bear; None: anybody may send. max_*: bytes of a request, and before the disk."""
        self._token, self._max_body = token, max_body
        self._keys = Keys(read_lines_back(spool.segments()))
        self._committer = Committer(spool, max_waiting)
        self._locks: dict[str, asyncio.Lock] = {}
        self._askers: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        if scope["type"] != "http":
            return
        try:
            status, answer = await self._answer(scope, receive)
        except RefusedError as error:
            status, answer = error.status, {"error": error.sentence}
        await send_whole(send, status, orjson.dumps(answer))

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, dict[str, object]]:
        headers = headers_of(scope)
        if scope["path"] == "/health":
            return 200, {"ok": True}
        check_token(headers, self._token, scope["path"])
        if scope["path"] != "/documents":
            raise RefusedError(f"nothing is at {scope['path']}; POST to /documents", 404)
        if scope["method"] != "POST":
            raise RefusedError(f"{scope['method']} is not answered here; use POST", 405)
        key = headers.get(b"idempotency-key")
        if key is not None and not 0 < len(key) <= MAX_KEY_CHARS:
            raise RefusedError(f"the Idempotency-Key has {len(key)} characters; use 1 to {MAX_KEY_CHARS}", 400)
        body = await read_body(headers, receive, self._max_body, "send fewer documents at once")
        lines = lines_of(body, headers.get(b"content-type", ""), key)
        return await self._take(key, lines)

    async def _take(self, key: str | None, lines: list[SpoolLine]) -> tuple[int, dict[str, object]]:
        if key is None:
            await self._committer.write([line.data for line in lines])
            return 201, {"stored": len(lines), "ids": [line.id for line in lines]}
        async with self._alone(key):
            missing = self._keys.missing(key, lines)
            if missing:
                await self._committer.write([line.data for _, line in missing])
                self._keys.add(key, missing)
            return 201 if missing else 200, {"stored": len(missing), "ids": self._keys.ids(key)}

    @contextlib.asynccontextmanager
    async def _alone(self, key: str) -> AsyncIterator[None]:
        """Let requests with the same key come one after the other."""
        lock = self._locks.setdefault(key, asyncio.Lock())
        self._askers[key] += 1
        try:
            async with lock:
                yield
        finally:
            self._askers[key] -= 1
            if not self._askers[key]:
                del self._askers[key], self._locks[key]
