"""Which answers can still be spoken of? The last ones, in memory, until they are too old or too many.

An answer is held whether or not anybody consented to more: what is not stored is gone after `serve.feedback.hold`, when
`serve.feedback.memory` is full, or when the process ends.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Prompt = str | Sequence[dict[str, str]]  # of a completion; the messages of a conversation
OWN_BYTES = 2000  # that an answer costs besides its texts


@dataclass(eq=False)
class HeldAnswer:
    """A request's answers as they were given, with what was asked."""

    id: str
    checkpoint: str
    fingerprint: str
    prompts: tuple[Prompt, ...]  # one a choice
    texts: tuple[str, ...]
    consents: bool  # who asked lets request and answer be kept
    unit: int | None = None  # a hash of who asked, or of the conversation; None: a checkpoint was asked for by its name
    given_s: float = 0.0  # unix time
    rated: set[int] = field(default_factory=set)  # choices that were rated
    stored: set[tuple[int, str | None, str | None, str | None]] = field(default_factory=set)  # feedback that was stored

    @property
    def num_bytes(self) -> int:
        """Roughly what it takes in memory; a prompt that choices share counts once."""
        once = {id(prompt): prompt for prompt in self.prompts}.values()
        told = [part for prompt in once for part in _texts(prompt)]
        return OWN_BYTES + sum(len(text.encode(errors="replace")) for text in (*told, *self.texts))


class HeldAnswers:
    """The answers that are held; used by one thread."""

    def __init__(self, hold_s: float, most_bytes: int, clock: Callable[[], float]) -> None:
        self.hold_s, self.most_bytes, self._clock = hold_s, most_bytes, clock
        self._answers, self._bytes = OrderedDict[str, HeldAnswer](), 0

    def add(self, answer: HeldAnswer) -> None:
        """Hold an answer from now on; the oldest ones give way."""
        answer.given_s = self._clock()
        self._answers[answer.id] = answer
        self._bytes += answer.num_bytes
        self._let_go()

    def find(self, id: str) -> HeldAnswer | None:
        """Return the answer of that id; None where it is not held, or no more."""
        self._let_go()
        return self._answers.get(id)

    def _let_go(self) -> None:
        too_old = self._clock() - self.hold_s
        while self._answers:
            oldest = next(iter(self._answers.values()))
            if oldest.given_s > too_old and self._bytes <= self.most_bytes:
                return
            del self._answers[oldest.id]
            self._bytes -= oldest.num_bytes


def _texts(prompt: Prompt) -> list[str]:
    return [prompt] if isinstance(prompt, str) else [value for message in prompt for value in message.values()]
