"""What does an answer look like to a client of OpenAI's API: whole, as a stream, with likelihoods, as an error?"""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from cluster.http.asgi import RefusedError
from models.measures.decoding import ChosenToken
from ray_jobs.serving.answer_id import answer_id
from ray_jobs.serving.loop import AnswerPart
from ray_jobs.serving.served import ServedCheckpoint
from ray_jobs.serving.text import UNFINISHED

DONE = b"data: [DONE]\n\n"
STATUS_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


def error_body(error: RefusedError) -> bytes:
    """An error as OpenAI's clients expect it: they raise the message under the name of its status."""
    kind = STATUS_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    code = "model_not_found" if (error.status, error.param) == (404, "model") else None
    return orjson.dumps({"error": {"message": error.sentence, "type": kind, "param": error.param, "code": code}})


@dataclass
class Choice:
    """One of the answers to a request, as far as it has come."""

    prompt: Sequence[int]
    text: str = ""
    tokens: list[ChosenToken] = field(default_factory=list)
    num_echoed: int = 0  # of the tokens, those of the prompt
    ended: str | None = None

    def take(self, progress: AnswerPart) -> None:
        """Add what is new."""
        self.text += progress.piece
        self.tokens += progress.tokens
        self.ended = progress.ended


@dataclass
class Form:
    """How the answers to one request are written."""

    served: ServedCheckpoint
    is_chat: bool
    has_logprobs: bool = False
    unit: int | None = None  # who asked, as a hash; None: a checkpoint was asked for by its name
    unique: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def id(self) -> str:
        """The answer's id, which says which checkpoint it is of."""
        return answer_id(self.unique, self.served.name, self.served.fingerprint, is_chat=self.is_chat)

    def whole(self, choices: Sequence[Choice]) -> bytes:
        """Write all choices."""
        said = [self._whole_choice(index, choice) for index, choice in enumerate(choices)]
        return orjson.dumps({**self._head(is_chunk=False), "choices": said, "usage": usage(choices)})

    def opening(self, index: int) -> bytes:
        """Write what the stream of a choice begins with: in a chat, who speaks."""
        delta = {"index": index, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
        return self._event([delta]) if self.is_chat else b""

    def piece(self, progress: AnswerPart, offset: int) -> bytes:
        """Write what is new in a choice; offset: characters before it."""
        logprobs = self._logprobs(progress.tokens, offset) if progress.tokens else None
        said: dict[str, object] = {"index": progress.number, "logprobs": logprobs, "finish_reason": progress.ended}
        if self.is_chat:
            said["delta"] = {"content": progress.piece} if progress.piece else {}
        else:
            said["text"] = progress.piece
        return self._event([said])

    def totals(self, choices: Sequence[Choice]) -> bytes:
        """Write how many tokens a stream was."""
        return b"data: " + orjson.dumps({**self._head(is_chunk=True), "choices": [], "usage": usage(choices)}) + b"\n\n"

    def _event(self, choices: list[dict[str, object]]) -> bytes:
        return b"data: " + orjson.dumps({**self._head(is_chunk=True), "choices": choices}) + b"\n\n"

    def _head(self, *, is_chunk: bool) -> dict[str, object]:
        kind = ("chat.completion.chunk" if is_chunk else "chat.completion") if self.is_chat else "text_completion"
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.served.name,
            "system_fingerprint": self.served.fingerprint,
        }

    def _whole_choice(self, index: int, choice: Choice) -> dict[str, object]:
        logprobs = self._logprobs(choice.tokens, 0)
        said = {"index": index, "logprobs": logprobs, "finish_reason": choice.ended}
        if self.is_chat:
            return {**said, "message": {"role": "assistant", "content": choice.text, "refusal": None}}
        return {**said, "text": choice.text}

    def _logprobs(self, tokens: Sequence[ChosenToken], offset: int) -> dict[str, object] | None:
        if not self.has_logprobs:
            return None
        spelled = [self._spell(token.id) for token in tokens]
        if self.is_chat:
            entries = []
            for token, text in zip(tokens, spelled, strict=True):
                top = [_entry(self._spell(id_), logprob) for id_, logprob in token.likeliest]
                entries.append({**_entry(text, token.logprob), "top_logprobs": top})
            return {"content": entries, "refusal": None}
        offsets = [offset + sum(map(len, spelled[:place])) for place in range(len(spelled))]
        return {
            "tokens": spelled,
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [self._top(token, text) for token, text in zip(tokens, spelled, strict=True)],
            "text_offset": offsets,
        }

    def _top(self, token: ChosenToken, text: str) -> dict[str, float] | None:
        """The likeliest tokens; of several that are spelled alike the likeliest, and the chosen one in any case."""
        if token.logprob is None:
            return None
        top = {self._spell(id_): logprob for id_, logprob in reversed(token.likeliest)}
        top.setdefault(text, token.logprob)
        return top

    def _spell(self, token: int) -> str:
        tokenizer = self.served.speaker.tokenizer
        if text := tokenizer.decode([token]):
            return text
        return next((name for name, index in tokenizer.special_tokens.items() if index == token), "")


def usage(choices: Sequence[Choice]) -> dict[str, int]:
    """How many tokens were read and added; a prompt counts once, however many answers it gets."""
    read = sum(len(prompt) for prompt in {id(choice.prompt): choice.prompt for choice in choices}.values())
    added = sum(len(choice.tokens) - choice.num_echoed for choice in choices)
    return {"prompt_tokens": read, "completion_tokens": added, "total_tokens": read + added}


def models_body(names: Mapping[str, float]) -> bytes:
    """The list of models, each with the time since when it is there."""
    return orjson.dumps({"object": "list", "data": [_model(name, since) for name, since in names.items()]})


def model_body(name: str, since: float) -> bytes:
    """One model."""
    return orjson.dumps(_model(name, since))


def _model(name: str, since: float) -> dict[str, object]:
    return {"id": name, "object": "model", "created": int(since), "owned_by": "headrace"}


def _entry(text: str, logprob: float | None) -> dict[str, object]:
    data = None if UNFINISHED in text else list(text.encode())
    return {"token": text, "logprob": -9999.0 if logprob is None else logprob, "bytes": data}
