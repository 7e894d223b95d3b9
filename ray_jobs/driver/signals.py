"""What happens at ^C and SIGTERM?

Once: an event is set, and the driver finishes the step, commits and stops (exit 143). Twice: at once, as if
killed, which loses nothing committed. The handler itself does nothing more, because it may interrupt anything.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STOPPING = "stopping: finishing the step and committing; once more stops at once"


@contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """While inside, a first SIGINT or SIGTERM sets the event; a second one ends the process.

    Others may set the event too (the stop button of W&B); the signal that follows it is then still the first.
    """
    stopped = threading.Event()
    signalled = False

    def handle(number: int, frame: object) -> None:
        nonlocal signalled
        if signalled:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        signalled = True
        stopped.set()

    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
