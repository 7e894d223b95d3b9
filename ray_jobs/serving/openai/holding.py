"""What of a request and its answers is held, so that somebody can speak of them?"""

from ray_jobs.serving.feedback.held import HeldAnswer, Prompt
from ray_jobs.serving.openai.exchange import Exchange
from ray_jobs.serving.openai.requests import ChatAsked, CompletionAsked


def held_answer(asked: CompletionAsked | ChatAsked, exchange: Exchange) -> HeldAnswer | None:
    """Return what is held of a request whose answers have ended; None of one that was echoed, or failed."""
    choices, form = exchange.choices, exchange.form
    if any(choice.ended == "failed" for choice in choices) or getattr(asked, "echo", False):
        return None
    prompts: list[Prompt]
    if isinstance(asked, ChatAsked):
        prompts = [[message.plain() for message in asked.messages]]
    else:
        tokenizer = form.served.speaker.tokenizer
        prompts = [given if isinstance(given, str) else tokenizer.decode(given) for given in asked.prompts()]
    return HeldAnswer(
        id=form.id,
        checkpoint=form.served.name,
        fingerprint=form.served.fingerprint,
        prompts=tuple(prompt for prompt in prompts for _ in range(asked.n)),
        texts=tuple(choice.text for choice in choices),
        consents=asked.store,
        unit=form.unit,
    )
