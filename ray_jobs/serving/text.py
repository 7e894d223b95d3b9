"""How do tokens that come one by one become text that may be shown?

A piece is held back while it is no whole character, or may be the beginning of a sequence at which the answer stops.
Only the last tokens are decoded again for each new one, with those before them as context: whether a token begins with
a space is known only beside another.
"""

from collections.abc import Sequence

from data_ops.documents.tokenizer import Tokenizer

UNFINISHED = "\ufffd"  # what bytes that are no whole character yet decode to
CONTEXT = 8  # tokens before the first that are decoded beside it


class TextStream:
    """The text of one answer."""

    def __init__(self, tokenizer: Tokenizer, before: Sequence[int] = (), stops: Sequence[str] = ()) -> None:
        """before: the prompt's tokens; stops: texts at the first of which the answer ends, without it."""
        self._tokenizer, self._stops = tokenizer, stops
        self._ids = list(before[-CONTEXT:])
        self._from, self._decoded = 0, len(self._ids)
        while self._tokenizer.decode(self._ids[: self._decoded]).endswith(UNFINISHED):
            self._decoded -= 1  # the prompt's tokens end within a character, which the answer may complete
        self._held, self.is_stopped = "", False

    def add(self, token: int) -> str:
        """Take a token; return what of the text may be shown now."""
        self._ids.append(token)
        before, text = self._window()
        if text.endswith(UNFINISHED) or not text.startswith(before):
            return ""
        self._from, self._decoded = self._decoded, len(self._ids)
        return self._release(text[len(before) :])

    def end(self) -> str:
        """Return what was held back, once no token follows."""
        if self.is_stopped:
            return ""
        before, whole = self._window()
        text = self._release(whole[len(before) :])
        held, self._held = self._held, ""
        return text if self.is_stopped else text + held

    def _window(self) -> tuple[str, str]:
        """The text that is shown already, as far as it is decoded again, and the same with what follows."""
        before = self._tokenizer.decode(self._ids[self._from : self._decoded])
        return before, self._tokenizer.decode(self._ids[self._from :])

    def _release(self, piece: str) -> str:
        text = self._held + piece
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            self.is_stopped, self._held = True, ""
            return text[: min(places)]
        held = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of a text begin a stop sequence."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
