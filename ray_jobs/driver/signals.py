"""What happens at ^C and SIGTERM?

Once: an event is set, and the driver finishes the step, commits and stops (exit 143). Twice: at once, as if
killed, which loses nothing committed. The handler itself does nothing more, because it may interrupt anything.

A run that a trigger started stops in the same way when the trigger is gone. It looks at its parent's number for that:
the kernel's signal for it (PR_SET_PDEATHSIG) may come once for each thread of the dead, and a second one stops at once.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STOP_WITH = "HEADRACE_STOP_WITH"  # in the environment: the process id of a parent without which we are to stop
LOOK_SECONDS = 0.5
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
    over = threading.Event()
    if parent := os.environ.pop(STOP_WITH, ""):  # ours alone, not also of what we start
        threading.Thread(target=_stop_with, args=(int(parent), stopped, over), daemon=True, name="parent").start()
    try:
        yield stopped
    finally:
        over.set()
        for number, handler in old.items():
            signal.signal(number, handler)


def _stop_with(parent: int, stopped: threading.Event, over: threading.Event) -> None:
    while os.getppid() == parent:
        if over.wait(LOOK_SECONDS):
            return
    stopped.set()
