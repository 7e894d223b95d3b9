"""What happens between a request and the end of its answer? Texts go on in the computing thread, and are told here."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from cluster.http.asgi import Receive, RefusedError
from models.measures.decoding import ChosenToken
from ray_jobs.serving.loop import AnswerPart, OpenAnswer
from ray_jobs.serving.openai.answers import DONE, Choice, Form, error_body
from ray_jobs.serving.openai.asking import AnswerPlan
from ray_jobs.serving.text import TextStream

FAILED = "the answer could not be computed; the server's log says why"


class GoneError(Exception):
    """Who asked has gone."""


class Exchange:
    """One request and its answers."""

    def __init__(self, plan: AnswerPlan, form: Form, stops: tuple[str, ...], echo: bool = False) -> None:
        self.form, self._plan, self._echo = form, plan, echo
        self._loop, self._queue = asyncio.get_running_loop(), asyncio.Queue[AnswerPart | None]()
        tokenizer = form.served.speaker.tokenizer
        self.answers = [
            OpenAnswer(index, form.served, text, TextStream(tokenizer, text.prompt, stops), self._tell)
            for index, text in enumerate(plan.texts)
        ]
        self.choices = [Choice(text.prompt) for text in plan.texts]

    async def progresses(self) -> AsyncIterator[AnswerPart]:
        """Yield what is new until every choice has ended; choices have it already. GoneError where nobody listens."""
        while any(choice.ended is None for choice in self.choices):
            progress = await self._queue.get()
            if progress is None:
                raise GoneError
            choice = self.choices[progress.number]
            if self._echo and not choice.tokens and not choice.text:
                progress = self._with_prompt(progress)
            choice.take(progress)
            yield progress

    def cancel(self) -> None:
        """Let what still goes on end."""
        for answer in self.answers:
            answer.is_cancelled = True

    async def end_when_gone(self, receive: Receive) -> None:
        """Wait until the other side has gone, and end the exchange."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self._queue.put_nowait(None)

    def _tell(self, progress: AnswerPart) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop has ended, and with it whoever waited
            self._loop.call_soon_threadsafe(self._queue.put_nowait, progress)

    def _with_prompt(self, progress: AnswerPart) -> AnswerPart:
        """Put the prompt before the first piece of a choice, as `echo` asks."""
        text = self._plan.texts[progress.number]
        prompt = next(prompt for prompt in self._plan.prompts if prompt.tokens is text.prompt)
        known = [ChosenToken(text.prompt[0]), *(text.prompt_tokens or map(ChosenToken, text.prompt[1:]))][prompt.own :]
        self.choices[progress.number].num_echoed = len(known)
        piece = self.form.served.speaker.tokenizer.decode([token.id for token in known])
        return progress._replace(piece=piece + progress.piece, tokens=(*known, *progress.tokens))


async def streamed(
    exchange: Exchange, progresses: AsyncIterator[AnswerPart], include_usage: bool
) -> AsyncIterator[bytes]:
    """Yield server-sent events, the last of which says that it was the last."""
    lengths = dict.fromkeys(range(len(exchange.choices)), 0)
    for index in lengths:
        if opening := exchange.form.opening(index):
            yield opening
    async for progress in progresses:
        if progress.ended == "failed":
            yield b"data: " + error_body(RefusedError(FAILED, 500)) + b"\n\n"
            return
        if progress.piece or progress.ended or (progress.tokens and exchange.form.has_logprobs):
            yield exchange.form.piece(progress, lengths[progress.number])
        lengths[progress.number] += len(progress.piece)
    if include_usage:
        yield exchange.form.totals(exchange.choices)
    yield DONE
