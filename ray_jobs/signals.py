"""What happens at ^C and SIGTERM?

Once: finish the step, commit, stop (exit 143). Twice: at once, as if killed, which loses nothing committed.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Notes(Protocol):
    """Where a sentence for the user goes."""

    def note(self, said: str) -> None:
        """Show a sentence."""


@contextmanager
def stop_on_signal(ask: Callable[[], None], display: Notes) -> Iterator[threading.Event]:
    """While inside, a first SIGINT or SIGTERM sets the event and calls `ask`; a second one ends the process."""
    stopped = threading.Event()

    def handle(number: int, frame: Any) -> None:
        if stopped.is_set():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        stopped.set()
        display.note(f"{signal.Signals(number).name}: finishing the step and committing; once more stops at once")
        ask()

    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
