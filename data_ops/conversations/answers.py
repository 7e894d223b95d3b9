"""Which tokens is a conversation, and which of them are learnt? A pure function of its text, template and tokenizer.

The template writes the whole of it, which is tokenised as a whole. An answer is what the template marks by
`{% generation %}`, or else what stands behind the text that the model would be asked with, up to the token that ends a
turn, this one included. That is looked at token by token: where the text with which the model is asked would be other
tokens than stand there, or a token is of the answer and of what is beside it, the conversation is unfit.
"""

import itertools
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from data_ops.conversations.messages import UnfitError, Utterance, check_answers
from data_ops.conversations.rendering import Rendered, Renderer
from data_ops.conversations.sandbox import BEGIN, END
from data_ops.conversations.template import ChatTemplate
from data_ops.conversations.transcript import read_transcript, write_transcript
from data_ops.documents.tokenizer import PlacedTokens, Tokenizer

UNCLEAR = "unclear_answer"
TRIED = [Utterance("user", "Which way?"), Utterance("assistant", "Down the river.")]
TRIED += [Utterance("user", "And then?"), Utterance("assistant", "To the sea.")]


class AnswerSpan(NamedTuple):
    """Where an answer stands in the text, in characters [start, end)."""

    start: int
    end: int


class StoredTokens(NamedTuple):
    """Tokens as the lake has them, int32 [n]: t where it is learnt, ~t where it is only read; and bytes of answers."""

    ids: npt.NDArray[np.int32]
    num_bytes: int


class ConversationTokens:
    """A template and a tokenizer that turn conversations into tokens."""

    def __init__(self, template: ChatTemplate, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.renderer = tokenizer, Renderer(template)
        longest_first = sorted((*tokenizer.special_tokens, BEGIN, END), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, longest_first)))

    def encode(self, text: str, date_s: float, most: int | None = None) -> StoredTokens:
        """Encode a transcript; most: tokens it may have. UnfitError, with the reason, where it cannot be learnt from.

        date_s: unix time of the date that a template may ask for.
        """
        try:
            messages = read_transcript(text)
        except ValueError as error:
            raise UnfitError(str(error), "turns_changed") from None
        check_answers(messages)
        self._refuse_special(messages)
        said = [{"role": message.role, "content": message.content} for message in messages]
        rendered = self.renderer.render(said, date_s)
        if rendered.refusal is not None:
            raise UnfitError(rendered.refusal, "template_refuses")
        answers = [message.content for message in messages if message.role == "assistant"]
        whole, spans = self._spans(rendered, answers)
        special = [AnswerSpan(*found.span()) for found in self._special.finditer(whole)]
        placed = self.tokenizer.encode_placed(whole)
        if most is not None and len(placed.ids) > most:
            raise UnfitError(f"it is {len(placed.ids)} tokens, max_tokens allows {most}", "long_conversation")
        learnt = np.zeros(len(placed.ids), np.bool_)
        for span in spans:
            learnt[self._tokens_of(whole, span, placed, special)] = True
        if learnt[0]:
            raise UnfitError(f"the template puts nothing before the first answer {answers[0][:20]!r}", UNCLEAR)
        stored = np.where(learnt, placed.ids, ~placed.ids).astype(np.int32)
        return StoredTokens(stored, sum(len(answer.encode()) for answer in answers))

    def _refuse_special(self, messages: Sequence[Utterance]) -> None:
        for number, message in enumerate(messages):
            if spelled := self._special.search(message.content):
                raise UnfitError(f"message {number} spells the special token {spelled[0]!r}", "special_token")

    def _spans(self, rendered: Rendered, answers: Sequence[str]) -> tuple[str, list[AnswerSpan]]:
        """The text, and where each answer stands in it; UnfitError where that is not certain."""
        if rendered.prompts is None:
            text, spans = marked_spans(rendered.text)
        else:
            text = rendered.text
            spans = [self._behind(text, prompt) for prompt in rendered.prompts]
        if len(spans) != len(answers):
            raise UnfitError(f"the template marks {len(spans)} answers where there are {len(answers)}", UNCLEAR)
        for number, (span, answer) in enumerate(zip(spans, answers, strict=True)):
            if answer not in text[span.start : span.end]:
                raise UnfitError(f"the template writes answer {number} otherwise than it was said", UNCLEAR)
            if not self._special.search(text, span.start, span.end):
                raise UnfitError(f"the template ends answer {number} with no special token", UNCLEAR)
        if any(one.end > other.start for one, other in itertools.pairwise(spans)):
            raise UnfitError(f"the template writes an answer into another, at {spans[0].end} of {len(text)}", UNCLEAR)
        return text, spans

    def _behind(self, text: str, prompt: str) -> AnswerSpan:
        """The answer behind what the model is asked with, up to the special token that ends it."""
        if not text.startswith(prompt):
            raise UnfitError(
                f"the template asks for an answer by {prompt[-20:]!r}, and writes the conversation otherwise", UNCLEAR
            )
        ends = self._special.search(text, len(prompt))
        return AnswerSpan(len(prompt), ends.end() if ends else len(text))

    def _tokens_of(self, text: str, span: AnswerSpan, placed: PlacedTokens, special: Sequence[AnswerSpan]) -> slice:
        """The tokens of an answer; UnfitError where one of them is of more, or would not follow its prompt.

        special: where the text has special tokens; they part it, so what stands before one does not matter behind it.
        """
        first = int(np.searchsorted(placed.ends, span.start, side="right"))
        last = int(np.searchsorted(placed.starts, span.end, side="left"))
        if first >= last or placed.starts[first] < span.start or placed.ends[last - 1] > span.end:
            around = text[max(0, span.start - 10) : span.start + 10]
            raise UnfitError(f"a token is of an answer and of what is beside it, at {around!r}", UNCLEAR)
        since = max((one.end for one in special if one.end <= span.start), default=0)
        begin = int(np.searchsorted(placed.starts, since, side="left"))
        asks, encode = text[since : span.start], self.tokenizer.encode_marked
        alike = encode(asks) == placed.ids[begin:first].tolist()  # or, where the first word of a text is marked:
        if not alike and encode(text[: span.start]) != placed.ids[:first].tolist():
            raise UnfitError(f"the text {asks!r} has other tokens alone than before its answer", UNCLEAR)
        return slice(first, last)


def marked_spans(text: str) -> tuple[str, list[AnswerSpan]]:
    """Take the marks out of a text that the template has put around answers."""
    plain, spans, length = list[str](), list[AnswerSpan](), 0
    for number, piece in enumerate(text.split(BEGIN)):
        inside, end, rest = piece.partition(END) if number else ("", "", piece)
        if number and not end:
            raise UnfitError(f"the template marks an answer within another, at {piece[:20]!r}", UNCLEAR)
        if number:
            spans.append(AnswerSpan(length, length + len(inside)))
        plain += [inside, rest]
        length += len(inside) + len(rest)
    return "".join(plain), spans


def try_template(template: ChatTemplate, tokenizer: Tokenizer) -> None:
    """ValueError, in a sentence, where not even a plain conversation of two turns can be learnt with a template."""
    try:
        ConversationTokens(template, tokenizer).encode(write_transcript(TRIED), 0.0)
    except UnfitError as error:
        raise ValueError(
            f"the chat template ({template.origin}) cannot be trained with: {error}; give the model's folder a "
            "chat_template.jinja that marks its answers by {% generation %} and ends them with a special token"
        ) from None
