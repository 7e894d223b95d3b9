"""Which arguments and options do the commands share?

A command declares them by these types. What stands on a command line beside them is `key.path=value`, and, for commands
that speak of documents, their names.
"""

import re
from collections.abc import Callable
from typing import Annotated, TypeVar, get_args, get_origin

import typer

from models.kinds.kind import Precision
from ray_jobs.config.reading import recipes

Command = TypeVar("Command", bound=Callable[..., None])
OVERRIDES = "Settings, such as optim.lr=1e-3; they win over files. All keys: headrace schema."


def _recipes(begun: str) -> list[str]:
    return [name for name in recipes() if name.startswith(begun)]


Overrides = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help=OVERRIDES, show_default=False)]
Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID|KEY=VALUE", help="Documents, and settings such as store=./lake.", show_default=False),
]
Files = Annotated[
    list[str] | None,
    typer.Option("-c", "--config", help="YAML file or recipe; later ones win.", autocompletion=_recipes),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything and print the plan; touch nothing.")]
Checkpoint = Annotated[str | None, typer.Option("--checkpoint", help="RUN/STEP; default: the run's last.")]
Asked = Annotated[str | None, typer.Option("--checkpoint", help="RUN/STEP, champion or base; default: the run's last.")]
Task = Annotated[
    list[str] | None,
    typer.Option("--task", metavar="NAME", help="Ask this task alone: of evaluate.tasks, or a YAML file; repeatable."),
]
Exported = Annotated[
    str | None, typer.Option("--checkpoint", help="RUN/STEP; default: the champion, else the run's last.")
]
ToCheckpoint = Annotated[
    str | None, typer.Option("--to", metavar="RUN/STEP", help="Make this checkpoint the champion, unjudged.")
]
Reference = Annotated[
    bool, typer.Option("--reference", help="With --to: accept what old text has lost, and count anew.")
]
ToDirectory = Annotated[str | None, typer.Option("--to", metavar="DIRECTORY", help="The directory to write.")]
Looked = Annotated[
    str,
    typer.Argument(
        metavar="PATH", help="A folder, a file, a glob, s3://..., gs://..., a database or kafka://HOST/TOPIC."
    ),
]
AsChat = Annotated[bool, typer.Option("--chat", help="Take the prompt as a question, by the chat template.")]
Adapter = Annotated[bool, typer.Option("--adapter", help="Of model.lora: the adapters alone, as peft loads them.")]
InPrecision = Annotated[Precision, typer.Option("--precision", help="Of the weights that are written.")]
Prompt = Annotated[str, typer.Argument(metavar="PROMPT", help="The text to go on with.")]
Tokens = Annotated[int, typer.Option("--tokens", min=1, max=2**20, help="Tokens that are added at most.")]
Temperature = Annotated[
    float, typer.Option("--temperature", min=0, max=100, help="0 takes the likeliest token; 1 draws as the model says.")
]
TopP = Annotated[
    float, typer.Option("--top-p", min=1e-9, max=1, help="Draw among the likeliest tokens of this share together.")
]
TopK = Annotated[int | None, typer.Option("--top-k", min=1, help="Draw among so many tokens at most; absent: all.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Decides every draw.")]
ToPage = Annotated[str, typer.Option("--to", metavar="FILE", help="The page to write.")]
NumSamples = Annotated[
    int, typer.Option("--samples", min=0, max=20, help="Samples of each kind; 0 leaves texts out of the page.")
]
Site = Annotated[
    str | None, typer.Option("--site", metavar="HOST", help="Tell of this site alone; no page is written.")
]
ToFile = Annotated[str, typer.Option("--to", metavar="FILE", help="The YAML file to write.")]
SpoolFolder = Annotated[str, typer.Argument(metavar="FOLDER", help="Where documents are kept until they are read.")]
Host = Annotated[str, typer.Option("--host", help="The address to listen on; others than loopback need a token.")]
Port = Annotated[int, typer.Option("--port", min=1, max=65535, help="The port to listen on.")]
MaxBody = Annotated[int, typer.Option("--max-body", min=1024, max=2**28, help="Bytes that a request may hold.")]
TokenFile = Annotated[
    str | None,
    typer.Option(
        "--token-file", help="A file with the token; default: HEADRACE_PUSH_TOKEN (listen) or HEADRACE_SERVE_TOKEN."
    ),
]
IdFile = Annotated[str | None, typer.Option("--file", help="A file with one id a line.")]
Reported = Annotated[bool, typer.Option("--report", help="Delete nothing; tell what is known of the documents.")]
Address = Annotated[str | None, typer.Option("--address", help="http://HOST:8265; default: RAY_API_SERVER_ADDRESS.")]
Detach = Annotated[bool, typer.Option("--detach", help="Do not wait for the job's end.")]
OneLook = Annotated[bool, typer.Option("--one-look", help="Look once, start a run if it is due, end with its code.")]
Python = Annotated[str, typer.Option("--python", help="The interpreter on the head.")]
ClusterFile = Annotated[str | None, typer.Option("--cluster-file", help="Check this `ray up` or KubeRay file alone.")]
Sources = Annotated[bool, typer.Option("--sources", help="Read some spans of the sources again.")]
Deep = Annotated[bool, typer.Option("--deep", help="Read every byte and compare it with what was recorded.")]
All = Annotated[bool, typer.Option("--all", help="With --sources: compare every span.")]
Follow = Annotated[bool, typer.Option("--follow", help="Go on for ever: wait for documents that arrive.")]


def command(commands: typer.Typer, panel: str, *examples: str) -> Callable[[Command], Command]:
    """Make a function a command of a group: under a heading of `headrace --help`, with examples in its own help.

    Options that are unknown are overrides too: a W&B agent writes `--optim.lr=0.1`.
    """
    shown = "\n\n".join(["Examples:", *examples])
    return commands.command(context_settings={"ignore_unknown_options": True}, epilog=shown, rich_help_panel=panel)


def option_names() -> list[str]:
    """Every option of every command, as it is typed."""
    infos = (get_args(each)[1] for each in globals().values() if get_origin(each) is Annotated)
    words = (word for info in infos for word in (info.default, *(info.param_decls or ())))
    return sorted(word for word in words if isinstance(word, str) and word.startswith("--"))


def split(arguments: list[str] | None) -> tuple[list[str], list[str]]:
    """Part the names of documents from the `key.path=value` overrides.

    >>> split(["wire:a.jsonl:3", "store=./lake", "--seed=1"])
    (['wire:a.jsonl:3'], ['store=./lake', '--seed=1'])
    """
    given = arguments or []
    names = [argument for argument in given if not re.match(r"(--)?[a-z_][a-z0-9_]*(\.\w+)*=", argument)]
    return names, [argument for argument in given if argument not in names]


def take(option: str, value: str | None, arguments: list[str] | None) -> tuple[str | None, list[str]]:
    """Take an option that was written as `to=X`, like an override, out of the arguments; `--to X` wins.

    >>> take("to", None, ["to=./model", "store=./lake"])
    ('./model', ['store=./lake'])
    """
    given = arguments or []
    written = [argument.partition("=")[2] for argument in given if argument.startswith(f"{option}=")]
    return value or (written[-1] if written else None), [a for a in given if not a.startswith(f"{option}=")]
