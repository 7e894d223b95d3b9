"""What answers OpenAI's paths? Plain ASGI, like the listener's: requests become texts, texts become answers.

A request belongs from its first line to the checkpoint that was in service when it came: its tokens, limits and answer
are of one checkpoint, which the answer names.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple

import orjson

from cluster.http.asgi import Receive, RefusedError, Scope, Send, check_token, headers_of, read_body, send_whole
from ray_jobs.serving.feedback.desk import FeedbackDesk, asker_hash
from ray_jobs.serving.feedback.records import Feedback
from ray_jobs.serving.loop import AnsweringLoop, AnswerPart
from ray_jobs.serving.metrics import CONTENT_TYPE, ServeMetrics
from ray_jobs.serving.openai.answers import Form, error_body, model_body, models_body, usage
from ray_jobs.serving.openai.asking import plan_chat, plan_completion
from ray_jobs.serving.openai.exchange import FAILED, Exchange, GoneError, streamed
from ray_jobs.serving.openai.holding import held_answer
from ray_jobs.serving.openai.requests import ChatAsked, CompletionAsked, FeedbackAsked, read_request
from ray_jobs.serving.replicas.merging import merged_pages
from ray_jobs.serving.replicas.siblings import HEADER, Siblings
from ray_jobs.serving.served import ServedCheckpoint
from ray_jobs.serving.watch import ChampionWatch

CHAMPION = "champion"
FEEDBACK = "/v1/feedback"
ASKING = ("/v1/completions", "/v1/chat/completions")
PATHS = {**dict.fromkeys((*ASKING, FEEDBACK), "POST"), "/v1/models": "GET", "/metrics": "GET"}
SSE = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


class Door(NamedTuple):
    """What a request must bear (None: anybody may ask), and how many bytes it may hold."""

    token: str | None
    max_body: int


class ServeApp:
    """The ASGI application: lets the champion answer."""

    def __init__(
        self, watch: ChampionWatch, loop: AnsweringLoop, desk: FeedbackDesk, siblings: Siblings, door: Door
    ) -> None:
        self._watch, self._loop, self._desk, self._siblings = watch, loop, desk, siblings
        self._token, self._max_body = door
        self._metrics, self._since = ServeMetrics(watch, loop), time.time()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        if scope["type"] != "http":
            return
        path, began, status = scope["path"], time.monotonic(), 500
        try:
            await self._answer(scope, receive, send)
            status = 200
        except RefusedError as error:
            status = error.status
            await send_whole(send, status, error_body(error))
        finally:
            self._metrics.requests.labels(path if path in PATHS else "other", status).inc()
        if path in ASKING and status == 200:
            self._metrics.whole_s.observe(time.monotonic() - began)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, headers = scope["path"], headers_of(scope)
        if path == "/health":
            return await send_whole(send, 200, orjson.dumps(self._health()))
        check_token(headers, self._token, path)
        method = "GET" if path.startswith("/v1/models/") else PATHS.get(path)
        if method is None:
            raise RefusedError(f"nothing is at {path}; there are {', '.join(PATHS)}", 404)
        if scope["method"] != method:
            raise RefusedError(f"{scope['method']} is not answered at {path}; use {method}", 405)
        if path == "/metrics":
            return await send_whole(send, 200, await self._page(headers), CONTENT_TYPE)
        if path == "/v1/models":
            return await send_whole(send, 200, models_body(dict.fromkeys(self._names(), self._since)))
        if method == "GET":
            self._served(name := path.removeprefix("/v1/models/"))
            return await send_whole(send, 200, model_body(name, self._since))
        body = await read_body(headers, receive, self._max_body, "send a shorter one")
        if path == FEEDBACK:
            return await self._take_feedback(body, headers, send)
        if path == "/v1/completions":
            completion = read_request(body, CompletionAsked)
            form = self._form(completion, is_chat=False, has_logprobs=completion.logprobs is not None)
            served = form.served
            exchange = Exchange(plan_completion(completion, served), form, completion.stops, completion.echo)
            return await self._go_on(completion, exchange, receive, send)
        chat = read_request(body, ChatAsked)
        form = self._form(chat, is_chat=True, has_logprobs=chat.logprobs)
        return await self._go_on(chat, Exchange(plan_chat(chat, form.served), form, chat.stops), receive, send)

    def _health(self) -> dict[str, object]:
        watch, trial = self._watch, self._watch.trial
        said = {"ok": True, "checkpoint": watch.current.name, "trouble": watch.trouble}
        return said if trial is None else {**said, "canary": trial.new.name}

    def _names(self) -> list[str]:
        return [CHAMPION, *(served.name for served in self._watch.answering)]

    def _form(self, asked: CompletionAsked | ChatAsked, *, is_chat: bool, has_logprobs: bool) -> Form:
        """Choose the checkpoint that answers; while two are tried, a user stays at one of them."""
        unique = uuid.uuid4().hex
        key = asked.asker or unique
        drawn = asked.model == CHAMPION
        served = self._watch.served_for(key) if drawn else self._served(asked.model)
        return Form(served, is_chat, has_logprobs, asker_hash(key) if drawn else None, unique)

    def _served(self, name: str) -> ServedCheckpoint:
        answering = self._watch.answering
        if name == CHAMPION:
            return answering[0]
        if (served := next((one for one in answering if one.name == name), None)) is None:
            names = " and ".join(one.name for one in answering)
            raise RefusedError(f"model {name} does not answer; {CHAMPION} does, now {names}", 404, "model")
        return served

    async def _page(self, headers: Mapping[bytes, str]) -> bytes:
        """The metrics; of all replicas, unless one of them asks."""
        own = self._metrics.page()
        if not self._siblings.are_there or HEADER in headers:
            return own
        others = await self._siblings.ask("/metrics", None, headers)
        theirs = {one.number: one.body for one in others if one.status == 200}
        return merged_pages({self._siblings.number: own, **theirs})

    async def _take_feedback(self, raw: bytes, headers: Mapping[bytes, str], send: Send) -> None:
        """Take feedback on an answer of this replica, or hand it to the one that gave it."""
        asked = read_request(raw, FeedbackAsked)
        if not self._desk.is_open:
            raise RefusedError(f"feedback is not taken at {FEEDBACK}; set serve.feedback.folder", 404)
        asked.check()
        said = Feedback(asked.index, asked.rating, asked.correction, asked.comment)
        try:
            taken = await self._desk.take(asked.id, said, asked.consent)
        except RefusedError as error:
            others = await self._siblings.ask(FEEDBACK, raw, headers) if error.status == 404 else []
            if (holder := next((one for one in others if one.status != 404), None)) is None:
                raise
            await send_whole(send, holder.status, holder.body)
            return
        self._metrics.feedback.labels(asked.rating or "none", str(taken.stored).lower()).inc()
        body = {"id": asked.id, "object": "feedback", "checkpoint": taken.checkpoint, "stored": taken.stored}
        await send_whole(send, 201 if taken.is_new else 200, orjson.dumps(body))

    async def _go_on(
        self, asked: CompletionAsked | ChatAsked, exchange: Exchange, receive: Receive, send: Send
    ) -> None:
        began, form = time.monotonic(), exchange.form
        self._loop.submit(exchange.answers)
        leaving = asyncio.create_task(exchange.end_when_gone(receive))
        try:
            progresses = self._counted(asked, exchange, began)
            if asked.stream:
                await send({"type": "http.response.start", "status": 200, "headers": SSE})
                async for piece in streamed(exchange, progresses, asked.stream_options.include_usage):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
                return
            async for _ in progresses:
                pass
            if any(choice.ended == "failed" for choice in exchange.choices):
                raise RefusedError(FAILED, 500)
            await send_whole(send, 200, form.whole(exchange.choices))
        except GoneError:
            pass  # nobody hears the answer
        finally:
            leaving.cancel()
            exchange.cancel()
            self._count_tokens(exchange)

    async def _counted(
        self, asked: CompletionAsked | ChatAsked, exchange: Exchange, began: float
    ) -> AsyncIterator[AnswerPart]:
        is_first = True
        async for progress in exchange.progresses():
            if is_first:
                self._metrics.first_token_s.observe(time.monotonic() - began)
            is_first = False
            if all(choice.ended for choice in exchange.choices):  # before anybody hears the end, and answers it
                self._metrics.answered(exchange.form.served)
                if self._desk.is_open and (held := held_answer(asked, exchange)) is not None:
                    self._desk.hold(held)
            yield progress

    def _count_tokens(self, exchange: Exchange) -> None:
        counts = usage(exchange.choices)
        for kind in ("prompt", "completion"):
            self._metrics.tokens.labels(kind).inc(counts[f"{kind}_tokens"])
