"""What does a request ask for? The fields of OpenAI's API, checked, and each either obeyed or refused by its name.

A field that would change the answer and is not supported is refused unless it says nothing (null, or its default), so
that nobody takes an answer for one that was asked otherwise.
"""

import re
import secrets
from typing import Annotated, Literal, NamedTuple, TypeVar

import msgspec

from cluster.http.asgi import RefusedError
from models.sampling import Sampling

IGNORED = ("metadata", "service_tier", "prompt_cache_key")
UNSUPPORTED: dict[str, object] = {  # and the value that says nothing
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logit_bias": {},
    "best_of": 1,
    "suffix": "",
    "response_format": {"type": "text"},
    "tools": [],
    "tool_choice": "none",
    "functions": [],
    "modalities": ["text"],
    "parallel_tool_calls": True,
    "reasoning_effort": "none",
}
MOST_CHOICES = 128
MOST_STOPS = 4
SEEDS = 2**63

Count = Annotated[int, msgspec.Meta(ge=0)]
Ids = list[Count]
Stops = str | list[str]


class StreamOptions(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a stream ends with."""

    include_usage: bool = False
    include_obfuscation: bool = False  # pads chunks against eavesdroppers of lengths; there is TLS before us or nobody


class AskedFields(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The fields that both kinds of request have."""

    model: str = "champion"
    max_tokens: Count | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] = 1.0
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    top_k: Annotated[int, msgspec.Meta(ge=1)] | None = None
    seed: int | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=MOST_CHOICES)] = 1
    stop: Stops = []
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    store: bool = False  # OpenAI's word for: request and answer may be kept
    user: str | None = None
    safety_identifier: str | None = None

    @property
    def asker(self) -> str | None:
        """Who asks, as the request says it; None: it does not."""
        return self.safety_identifier or self.user

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts at which an answer ends. RefusedError for empty ones, and for too many."""
        stops = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)
        if len(stops) > MOST_STOPS or "" in stops:
            raise RefusedError(
                f"stop={list(stops)} has to be at most {MOST_STOPS} texts that are not empty", 400, "stop"
            )
        return stops

    def samplings(self) -> list[Sampling]:
        """How each of the n answers is drawn: by a seed of its own, which follows from the request's, or is drawn."""
        seed = secrets.randbelow(SEEDS) if self.seed is None else self.seed % SEEDS
        return [Sampling(self.temperature, self.top_p, self.top_k, (seed + i) % SEEDS) for i in range(self.n)]


class CompletionAsked(AskedFields, forbid_unknown_fields=True, kw_only=True):
    """A request to `/v1/completions`."""

    prompt: str | list[str | Count | Ids]
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=5)] | None = None
    echo: bool = False

    def prompts(self) -> list[str | Ids]:
        """The prompts, each a text or tokens. RefusedError for a list that mixes them, or is empty."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if self.prompt and all(isinstance(part, int) for part in self.prompt):
            return [[part for part in self.prompt if isinstance(part, int)]]
        prompts = [part for part in self.prompt if not isinstance(part, int)]
        if not prompts or len(prompts) < len(self.prompt) or [] in prompts:
            said = (
                f"prompt={_short(self.prompt)} is not taken: send a text, texts, tokens, or lists of tokens, none empty"
            )
            raise RefusedError(said, 400, "prompt")
        return prompts


class TextPart(msgspec.Struct, forbid_unknown_fields=True):
    """A part of a message."""

    type: Literal["text"]
    text: str


class ChatMessage(msgspec.Struct, forbid_unknown_fields=True):
    """What somebody said in a conversation."""

    role: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    content: str | list[TextPart]
    name: str | None = None

    def plain(self) -> dict[str, str]:
        """The message as templates know it."""
        content = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": self.role, "content": content, **({"name": self.name} if self.name else {})}


class ChatAsked(AskedFields, forbid_unknown_fields=True, kw_only=True):
    """A request to `/v1/chat/completions`."""

    messages: Annotated[list[ChatMessage], msgspec.Meta(min_length=1)]
    max_completion_tokens: Count | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] = 0

    @property
    def asker(self) -> str:
        """Who asks; where the request does not say it, the conversation by its beginning, which all its turns share."""
        number = next((n for n, message in enumerate(self.messages) if message.role == "user"), 0)
        beginning = [message.plain() for message in self.messages[: number + 1]]
        return super().asker or msgspec.json.encode(beginning).decode()


class FeedbackAsked(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A request to `/v1/feedback`: what somebody says of an answer."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
    index: Count = 0
    rating: Literal["up", "down"] | None = None
    correction: str | None = None
    comment: Annotated[str, msgspec.Meta(max_length=10_000)] | None = None
    consent: bool | None = None

    def check(self) -> None:
        """RefusedError where it says nothing, or a correction is blank."""
        if self.rating is None and self.correction is None:
            raise RefusedError("rating and correction are both missing; send rating=up or down, or a correction", 400)
        if self.correction is not None and not self.correction.strip():
            raise RefusedError("correction is blank; send the better answer, or leave it out", 400, "correction")


Kind = TypeVar("Kind", CompletionAsked, ChatAsked, FeedbackAsked)


class Mistake(NamedTuple):
    """A field and what is wrong with it."""

    param: str | None
    sentence: str


def read_request(body: bytes, kind: type[Kind]) -> Kind:
    """Read a request; RefusedError names the field, its value, and what is taken."""
    try:
        raw = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RefusedError(f"the body is no JSON: {error}", 400) from None
    if not isinstance(raw, dict):
        raise RefusedError(f"the body is {type(raw).__name__}; send an object", 400)
    asked = {name: value for name, value in raw.items() if value is not None and name not in IGNORED}
    for name, neutral in UNSUPPORTED.items():
        if (value := asked.pop(name, neutral)) != neutral:
            raise RefusedError(f"{name}={_short(value)} is not supported; leave it out", 400, name)
    try:
        return msgspec.convert(asked, kind)
    except msgspec.ValidationError as error:
        param, sentence = _mistake(str(error), asked)
        raise RefusedError(sentence, 400, param) from None


def _mistake(error: str, asked: dict[str, object]) -> Mistake:
    """Tell what msgspec found, with the name and the value of the field."""
    if unknown := re.search(r"unknown field `(\w+)`(?: - at `\$\.(\w+))?", error):
        place = f" in {unknown[2]}" if unknown[2] else ""
        return Mistake(unknown[2] or unknown[1], f"{unknown[1]} is no field{place} that is known here; leave it out")
    if missing := re.search(r"missing required field `(\w+)`(?: - at `\$\.(\w+))?", error):
        return Mistake(missing[2] or missing[1], f"{missing[1]} is missing{' in ' + missing[2] if missing[2] else ''}")
    what, _, place = error.partition(" - at `$.")
    param = re.match(r"\w*", place)
    name = param[0] if param else ""
    return Mistake(name or None, f"{name}={_short(asked.get(name))} is not taken: {what[:1].lower()}{what[1:]}")


def _short(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 80 else f"{text[:77]}..."
