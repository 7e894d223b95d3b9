"""The command that changes what a running run is fed: mix."""

from typing import Annotated

import typer

from ray_jobs.command_line.ending import finish, show
from ray_jobs.command_line.options import Files, Json, command
from ray_jobs.command_line.reading import read_run
from ray_jobs.mixture.asking import Action, Asking

commands = typer.Typer()
PANEL = "Train"


Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SOURCE|SOURCE=SHARE|TOKENS:SHARES|KEY=VALUE",
        help="Sources, their shares, stages of a schedule, and settings such as store=./lake.",
        show_default=False,
    ),
]
Floor = Annotated[float | None, typer.Option("--floor", min=0, max=1, help="set: a share that every source has.")]
Replay = Annotated[
    float | None, typer.Option("--replay-share", min=0, max=0.99, help="set: instead of round.replay_share.")
]
Repeats = Annotated[
    list[str] | None,
    typer.Option(
        "--max-repeats",
        metavar="TIMES|SOURCE=TIMES|none",
        help="set: how often a document may be replayed, for all sources or one; may be given several times.",
        show_default=False,
    ),
]
FromRound = Annotated[
    int, typer.Option("--from-round", min=0, help="In force from this round on; default: the first not yet planned.")
]


@command(
    commands,
    PANEL,
    "headrace mix show store=./lake",
    "headrace mix set web=0.7 wiki=0.3 name=mine",
    "headrace mix set proportional",
    "headrace mix set --max-repeats 4",
    "headrace mix add code=0.1",
    "headrace mix pause wiki",
    "headrace mix remove wiki",
    "headrace mix schedule 0:web=0.9,wiki=0.1 50M:web=0.5,wiki=0.5",
    "headrace mix plan",
)
def mix(
    action: Annotated[Action, typer.Argument(help="What to do.", show_default=False)],
    words: Words = None,
    config: Files = None,
    as_json: Json = False,
    floor: Floor = None,
    replay_share: Replay = None,
    from_round: FromRound = 0,
    max_repeats: Repeats = None,
) -> None:
    """The sources' shares of fresh text: show them, change them while a run goes on, or see how long text lasts.

    A change is in force from the first round that is not planned yet; what is planned stays as it is.
    """
    from ray_jobs.mixture.command import mix_command, split_arguments

    said, overrides = split_arguments(words or [])
    asked = Asking(action, said, floor, replay_share, from_round, max_repeats or ())
    lines, told = mix_command(read_run(config, overrides), asked)
    show(lines, unless=as_json)
    finish(0, told, as_json)
