"""The command line: `headrace COMMAND -c FILE.yaml key.path=value --json`.

Every command reads one checked configuration, does one thing and says how it ended by its exit code:
0 ok, 1 failed, 2 usage or configuration, 3 gate refused, 75 try again, 143 stopped after a checkpoint.
"""

from importlib.metadata import version
from typing import Annotated

import typer

from ray_jobs.names import claim

claim()  # a folder of the user's may hold a `models` of its own

from ray_jobs.command_line import checkpoints, looking, mixing, preparing, registering, training  # noqa: E402
from ray_jobs.command_line.ending import expected, fail  # noqa: E402
from ray_jobs.outcome import ConfigError  # noqa: E402

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for part in (training, mixing, looking, checkpoints, registering, preparing):
    app.add_typer(part.commands)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"headrace {version('headrace')}")
        raise typer.Exit


@app.callback()
def headrace(
    asked: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Tell the version.")
    ] = False,
) -> None:
    """Keep language models current: read, curate, sample, train, judge, promote, repeat.

    `headrace run -c demo` shows all of it in three minutes.
    """


def main() -> None:
    """Run the command line; a mistake of the user is told in a sentence, without a traceback."""
    try:
        app(prog_name="headrace")
    except SystemExit:
        raise
    except expected() as error:  # only looked up where something failed
        if isinstance(error, ConfigError):
            fail(2, str(error))
        fail(75 if type(error).__name__ == "ClusterLostError" else 1, " ".join(str(error).split()))


if __name__ == "__main__":
    main()
