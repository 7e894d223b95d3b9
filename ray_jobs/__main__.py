"""The command line: `headrace COMMAND -c FILE.yaml key.path=value --json`.

Every command reads one checked configuration, does one thing and says how it ended by its exit code:
0 ok, 1 failed, 2 usage or configuration, 3 gate refused, 75 try again, 143 stopped after a checkpoint.
"""

import json
import logging
import sys
from typing import Annotated, Any

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Keep language models current: read, curate, sample, train, judge, promote, repeat.",
)
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
Files = Annotated[list[str] | None, typer.Option("-c", "--config", help="YAML file or recipe; later ones win.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything and print the plan; touch nothing.")]
Follow = Annotated[bool, typer.Option("--follow", help="Go on for ever: wait for documents that arrive.")]


def command(context: typer.Context, files: list[str] | None, as_json: bool) -> Any:
    """Read the configuration of a command; extra arguments are key.path=value overrides."""
    from cluster.telemetry import setup_logging
    from ray_jobs.config import read_config

    setup_logging()
    logging.getLogger().setLevel(logging.ERROR)
    return read_config(files or [], context.args)


def finish(code: int, values: dict[str, Any], as_json: bool) -> None:
    """End with an exit code; as JSON, the values are the last line of stdout."""
    if as_json:
        sys.stdout.write(json.dumps(values) + "\n")
        sys.stdout.flush()
    raise typer.Exit(code)


@app.command(context_settings=PASS_ON)
def run(
    context: typer.Context, config: Files = None, as_json: Json = False, dry_run: DryRun = False, follow: Follow = False
) -> None:
    """The whole loop: ingest, train, judge, promote, report, until the sources are drained."""
    _train(context, config, as_json, dry_run, follow, judged=True)


@app.command(context_settings=PASS_ON)
def train(
    context: typer.Context, config: Files = None, as_json: Json = False, dry_run: DryRun = False, follow: Follow = False
) -> None:
    """Ingest and train, but judge and promote nothing."""
    _train(context, config, as_json, dry_run, follow, judged=False)


def _train(
    context: typer.Context, files: list[str] | None, as_json: bool, dry_run: bool, follow: bool, *, judged: bool
) -> None:
    from ray_jobs.display import Display
    from ray_jobs.preflight import check_run
    from ray_jobs.run import OK
    from ray_jobs.run import run as run_all

    config = command(context, files, as_json)
    if dry_run:
        check_run(config, follow=follow)
        plan = config.model_dump(mode="json")
        if not as_json:
            sys.stdout.write(json.dumps(plan, indent=1) + "\n")
        finish(OK, plan, as_json)
    with Display(json=as_json) as display:
        outcome = run_all(config, display, follow=follow, judged=judged)
    finish(outcome.code, outcome.summary, as_json)


@app.command(context_settings=PASS_ON)
def verify(context: typer.Context, config: Files = None, as_json: Json = False) -> None:
    """Prove from the lake alone that no document was lost or repeated."""
    from cluster.storage import Store
    from data_ops.account import account
    from data_ops.lake import Lake
    from ray_jobs.display import Display

    settings = command(context, config, as_json)
    audit = account(Lake(Store.open(settings.store)), settings.name)
    with Display(json=as_json) as display:
        display.ledger(audit.to_dict())
        for problem in audit.problems:
            display.note(problem)
    finish(0 if audit.ok else 1, audit.to_dict(), as_json)


def main() -> None:
    """Run the command line; a mistake of the user is told in a sentence, without a traceback."""
    from ray_jobs.config import ConfigError

    try:
        app(prog_name="headrace")
    except ConfigError as error:
        _fail(2, str(error))
    except (OSError, ValueError, RuntimeError) as error:
        _fail(1, " ".join(str(error).split()))


def _fail(code: int, message: str) -> None:
    """Say what is wrong on stderr, and as JSON where that was asked for."""
    sys.stderr.write(message + "\n")
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps({"error": message, "code": code}) + "\n")
    raise SystemExit(code)


if __name__ == "__main__":
    main()
