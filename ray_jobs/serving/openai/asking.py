"""How does a request become texts that go on? Its prompts are tokenised and its limits checked, before it waits."""

from collections.abc import Sequence
from typing import NamedTuple

from cluster.http.asgi import RefusedError
from models.measures.decoding import GoingText
from models.sampling import Sampling
from ray_jobs.serving.openai.chat import check_messages
from ray_jobs.serving.openai.requests import MOST_CHOICES, AskedFields, ChatAsked, CompletionAsked
from ray_jobs.serving.served import ServedCheckpoint

DEFAULT_TOKENS = 16  # that a completion adds, as in OpenAI's API


class Prompt(NamedTuple):
    """Tokens to go on from; own: how many of them we have put before the request's."""

    tokens: Sequence[int]
    own: int


class AnswerPlan(NamedTuple):
    """What is computed for a request: prompts, and for each the texts that go on from it."""

    prompts: list[Prompt]
    texts: list[GoingText]


def plan_completion(asked: CompletionAsked, served: ServedCheckpoint) -> AnswerPlan:
    """Plan a completion; RefusedError where it does not fit."""
    prompts, size = [], served.speaker.tokenizer.vocab_size
    for given in asked.prompts():
        if isinstance(given, str):
            prompts.append(Prompt(served.speaker.prompt(given), 1))
            continue
        if strange := [token for token in given if token >= size]:
            raise RefusedError(f"token {strange[0]} is beyond the vocabulary of {size}", 400, "prompt")
        prompts.append(Prompt(given, 0))
    room = max(1, served.context - max(len(prompt.tokens) for prompt in prompts))
    most = min(DEFAULT_TOKENS, room) if asked.max_tokens is None else asked.max_tokens
    if most == 0 and not asked.echo:
        raise RefusedError(f"max_tokens={most} asks for nothing; ask for 1 or more, or set echo", 400, "max_tokens")
    ends = frozenset({served.speaker.tokenizer.document_token})
    plan = _plan(asked, prompts, most, ends, served)
    for text in plan.texts:
        text.likeliest = asked.logprobs
        text.tells_prompt = asked.echo and asked.logprobs is not None
    return plan


def plan_chat(asked: ChatAsked, served: ServedCheckpoint) -> AnswerPlan:
    """Plan an answer in a conversation; RefusedError where the model has no chat template, or it does not fit."""
    if served.chat is None:
        raise RefusedError(
            f"checkpoint {served.name} has no chat template, because it did not begin with a model that has one; "
            "use /v1/completions",
            400,
        )
    if asked.top_logprobs and not asked.logprobs:
        raise RefusedError(f"top_logprobs={asked.top_logprobs} needs logprobs=true", 400, "top_logprobs")
    tokenizer, messages = served.speaker.tokenizer, [message.plain() for message in asked.messages]
    check_messages(messages, tokenizer.special_tokens)
    prompt = Prompt(tokenizer.encode_marked(served.chat.render(messages)), 0)
    if not prompt.tokens:
        raise RefusedError(
            f"the chat template makes no token of {len(messages)} messages; say something", 400, "messages"
        )
    most = asked.max_tokens if asked.max_completion_tokens is None else asked.max_completion_tokens
    if most == 0:
        raise RefusedError(
            f"max_completion_tokens={most} asks for nothing; ask for 1 or more", 400, "max_completion_tokens"
        )
    room = max(1, served.context - len(prompt.tokens))
    plan = _plan(asked, [prompt], room if most is None else most, served.chat.ends, served)
    for text in plan.texts:
        text.likeliest = asked.top_logprobs if asked.logprobs else None
    return plan


def _plan(
    asked: AskedFields, prompts: list[Prompt], most: int, ends: frozenset[int], served: ServedCheckpoint
) -> AnswerPlan:
    if len(prompts) * asked.n > MOST_CHOICES:
        raise RefusedError(
            f"{len(prompts)} prompts with n={asked.n} are more than {MOST_CHOICES} answers; ask for fewer", 400, "n"
        )
    for prompt in prompts:
        if len(prompt.tokens) + most > served.context:
            raise RefusedError(
                f"a prompt of {len(prompt.tokens)} tokens and an answer of {most} are more than the "
                f"{served.context} tokens that {served.name} reads; shorten the prompt, or lower max_tokens",
                400,
                "max_tokens",
            )
    samplings: list[Sampling] = asked.samplings()
    return AnswerPlan(prompts, [GoingText(prompt.tokens, most, ends, how) for prompt in prompts for how in samplings])
