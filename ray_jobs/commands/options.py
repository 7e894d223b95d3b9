"""Which options do the commands share, and how does each of them end?"""

import json
import os
import re
import signal
import sys
from collections.abc import Iterable
from typing import Annotated, Any, NoReturn

import typer

from cluster.readable import visible
from cluster.telemetry.wandb_run import SWEEP

STOPPED = 128 + signal.SIGTERM

Files = Annotated[list[str] | None, typer.Option("-c", "--config", help="YAML file or recipe; later ones win.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything and print the plan; touch nothing.")]
Checkpoint = Annotated[str | None, typer.Option("--checkpoint", help="RUN/STEP; default: the run's last.")]
To = Annotated[str | None, typer.Option("--to", help="Where to.")]
File = Annotated[str | None, typer.Option("--file", help="A file with one id a line.")]
Address = Annotated[str | None, typer.Option("--address", help="http://HOST:8265; default: RAY_API_SERVER_ADDRESS.")]
Detach = Annotated[bool, typer.Option("--detach", help="Do not wait for the job's end.")]
Python = Annotated[str, typer.Option("--python", help="The interpreter on the head.")]
ClusterFile = Annotated[str | None, typer.Option("--cluster-file", help="Check this `ray up` or KubeRay file alone.")]
Follow = Annotated[bool, typer.Option("--follow", help="Go on for ever: wait for documents that arrive.")]


def show(lines: Iterable[str]) -> None:
    """Print what a command found, for people; whatever a stranger wrote into a line cannot steer their terminal."""
    for line in lines:
        sys.stdout.write(visible(line) + "\n")


def tell(line: str) -> None:
    """Print a line about what a command did, beside its output; as harmless as what `show` prints."""
    sys.stderr.write(visible(line) + "\n")


def split(context: typer.Context) -> list[str]:
    """Take the names of documents out of the arguments; what is left are key.path=value overrides."""
    names = [a for a in context.args if not re.match(r"(--)?[a-z_][a-z0-9_]*(\.\w+)*=", a)]
    context.args = [a for a in context.args if a not in names]
    return names


def finish(code: int, values: dict[str, Any], as_json: bool) -> None:
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
    """What a command may fail with that is told in a sentence; found only when something failed, for it takes time."""
    from deltalake.exceptions import DeltaError

    return (OSError, ValueError, RuntimeError, DeltaError)


def fail(code: int, message: str) -> NoReturn:
    """Say what is wrong on stderr, and as JSON where that was asked for."""
    for sentence in message.split("\n"):
        tell(sentence)
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps({"error": message, "code": code}) + "\n")
    raise SystemExit(code)
