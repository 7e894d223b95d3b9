"""How does a command speak, and how does it end?"""

import json
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from typing import NoReturn

import typer

from cluster.readable import visible
from cluster.telemetry.wandb_run import SWEEP

STOPPED = 128 + signal.SIGTERM


def show(lines: Iterable[str], *, unless: bool = False) -> None:
    """Print what a command found, for people; whatever a stranger wrote into a line cannot steer their terminal."""
    for line in lines if not unless else ():
        sys.stdout.write(visible(line) + "\n")


def say(piece: str, aside: bool) -> None:
    """Print a piece of a text as it comes, lines as they are, as harmless as what `show` prints; aside: to stderr."""
    stream = sys.stderr if aside else sys.stdout
    stream.write("\n".join(map(visible, piece.split("\n"))))
    stream.flush()


def tell(line: str) -> None:
    """Print a line about what a command did, beside its output; as harmless as what `show` prints."""
    sys.stderr.write(visible(line) + "\n")


def finish(code: int, values: Mapping[str, object], as_json: bool) -> None:
    """End with an exit code; as JSON, the values are the last line of stdout.

    A stopped trial of a W&B sweep ends by SIGTERM itself: its agent takes any code above 0 for a failed trial, and
    gives up after five of them, while stopping trials early is its daily business.
    """
    if as_json:
        sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()
    if code == STOPPED and SWEEP in os.environ:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)
    raise typer.Exit(code)


def expected() -> tuple[type[Exception], ...]:
    """What a command may fail with that is told in a sentence; looked up after a failure only, as that takes time."""
    from deltalake.exceptions import DeltaError

    return (OSError, ValueError, RuntimeError, DeltaError)


def fail(code: int, message: str) -> NoReturn:
    """Say what is wrong on stderr, and as JSON where that was asked for."""
    for sentence in dict.fromkeys(message.split("\n")):
        tell(sentence)
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps({"error": message, "code": code}) + "\n")
    raise SystemExit(code)
