"""The command that looks into the registry: registry list, show, diff, card."""

from enum import StrEnum
from typing import Annotated

import typer

from ray_jobs.command_line.ending import finish, show
from ray_jobs.command_line.options import Files, Json, command, split
from ray_jobs.command_line.reading import read_as_written, read_store

commands = typer.Typer()
PANEL = "Checkpoints"


class Look(StrEnum):
    """What to look at."""

    LIST = "list"
    SHOW = "show"
    DIFF = "diff"
    CARD = "card"


Named = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="ID|KEY=VALUE",
        help="Champions by number or RUN/STEP, and settings such as store=./lake.",
        show_default=False,
    ),
]
Out = Annotated[
    str | None, typer.Option("--out", metavar="DIRECTORY", help="card: write the files there; default: print it.")
]


@command(
    commands,
    PANEL,
    "headrace registry list store=./lake",
    "headrace registry show 3",
    "headrace registry diff 2 3",
    "headrace registry card -c mine.yaml --out ./card",
)
def registry(
    action: Annotated[Look, typer.Argument(help="What to look at.", show_default=False)],
    names: Named = None,
    config: Files = None,
    as_json: Json = False,
    out: Out = None,
) -> None:
    """Every champion a store has had: list, show and diff them, or write the model card and data card of one.

    Without ID it is the one in service; diff compares it with the one before.
    """
    from ray_jobs.cards.command import registry_command

    ids, overrides = split(names)
    store = read_store(config, overrides)
    lines, told = registry_command(store, read_as_written(config, overrides), action, ids, out)
    show(lines, unless=as_json)
    finish(0, told, as_json)
