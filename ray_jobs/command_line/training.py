"""The commands that take documents in and train: run, train, ingest, submit, trigger, sweep."""

import os
import sys
from typing import TYPE_CHECKING

import typer
import yaml

from cluster.redaction import redact
from ray_jobs.command_line.ending import finish, show
from ray_jobs.command_line.options import (
    Address,
    Detach,
    DryRun,
    Files,
    Follow,
    Json,
    OneLook,
    Overrides,
    Python,
    command,
)
from ray_jobs.command_line.reading import read, read_as_written
from ray_jobs.commands.submit import submit as submit_job
from ray_jobs.config.schema import Config

if TYPE_CHECKING:
    from ray_jobs.report.terminal import Display

commands = typer.Typer()
PANEL = "Train"


@command(
    commands,
    PANEL,
    "headrace run -c demo",
    "headrace run -c mine.yaml optim.lr=1e-3 engine.workers=4",
    "headrace run -c mine.yaml --follow",
)
def run(
    overrides: Overrides = None,
    config: Files = None,
    as_json: Json = False,
    dry_run: DryRun = False,
    follow: Follow = False,
) -> None:
    """The whole loop: ingest, train, judge, promote, report, until the sources are drained."""
    _train(read(config, overrides), as_json, dry_run, follow, judged=True)


@command(commands, PANEL, "headrace train -c mine.yaml", "headrace train -c mine.yaml name=trial round.tokens=65536")
def train(
    overrides: Overrides = None,
    config: Files = None,
    as_json: Json = False,
    dry_run: DryRun = False,
    follow: Follow = False,
) -> None:
    """Ingest and train, but judge and promote nothing."""
    _train(read(config, overrides), as_json, dry_run, follow, judged=False)


def _display(as_json: bool) -> "Display":
    from ray_jobs.report.terminal import Display

    return Display(json=as_json)


def _check(settings: Config, as_json: bool, *, follow: bool, drives: bool = True, judged: bool = False) -> None:
    """Refuse what cannot go well, before a cluster is touched, and show what was seen."""
    from ray_jobs.driver.preflight import check_run

    show(check_run(settings, follow=follow, drives=drives, judged=judged), unless=as_json)


def _train(settings: Config, as_json: bool, dry_run: bool, follow: bool, *, judged: bool) -> None:
    follow = follow or settings.round.starved != "stop"
    _check(settings, as_json, follow=follow, judged=judged)
    if dry_run:
        changed = redact(settings.model_dump(mode="json", exclude_defaults=True))
        show(yaml.safe_dump(changed, sort_keys=False, allow_unicode=True).splitlines(), unless=as_json)
        show(["# every other key has its default; --json prints them all"], unless=as_json)
        finish(0, redact(settings.model_dump(mode="json")), as_json)
    with _display(as_json) as display:
        display.starting(settings.cluster.address or os.environ.get("RAY_ADDRESS"))
        from ray_jobs.driver.run import run as run_all  # seconds to import torch: a mistake is answered before

        outcome = run_all(settings, display, follow=follow, judged=judged)
    finish(outcome.code, outcome.summary, as_json)


@command(commands, PANEL, "headrace ingest -c mine.yaml", "headrace ingest -c mine.yaml --follow window.max_seconds=5")
def ingest(overrides: Overrides = None, config: Files = None, as_json: Json = False, follow: Follow = False) -> None:
    """Take documents in, without training."""
    from ray_jobs.commands.ingest import ingest_only

    settings = read(config, overrides)
    _check(settings, as_json, follow=follow, drives=False)
    with _display(as_json) as display:
        counts = ingest_only(settings, display, follow=follow)
    finish(143 if counts["stopped"] else 0, counts, as_json)


@command(
    commands,
    PANEL,
    "headrace submit -c mine.yaml --address http://HOST:8265",
    "headrace submit -c mine.yaml engine.workers=8 --follow --detach",
)
def submit(
    overrides: Overrides = None,
    config: Files = None,
    as_json: Json = False,
    follow: Follow = False,
    address: Address = None,
    detach: Detach = False,
    python: Python = "python",
) -> None:
    """`run` as a job on a cluster: upload, start, show its output, end with its exit code."""
    settings = read_as_written(config, overrides)  # sources and store are looked at there, not from here
    echo = sys.stderr.write if as_json else sys.stdout.write
    ended = submit_job(settings, address, follow=follow, detach=detach, python=python, echo=echo)
    finish(ended.code, ended._asdict(), as_json)


@command(
    commands,
    PANEL,
    "headrace trigger -c mine.yaml trigger.tokens=5M trigger.every=6h",
    "headrace trigger -c mine.yaml --address http://HOST:8265",
    "headrace trigger -c mine.yaml --one-look",
)
def trigger(
    overrides: Overrides = None,
    config: Files = None,
    as_json: Json = False,
    address: Address = None,
    python: Python = "python",
    one_look: OneLook = False,
) -> None:
    """Wait until enough fresh text is there, then start a run for it, one at a time; with --address on a cluster."""
    from ray_jobs.trigger.command import trigger_command

    settings = read(config, overrides)
    code = trigger_command(settings, address, python, once=one_look, as_json=as_json)
    finish(code, {"event": "stopped", "code": code}, as_json)


@command(
    commands,
    PANEL,
    "headrace sweep -c mine.yaml 'sweep.space={optim.lr: {from: 1e-4, to: 1e-2}}' sweep.tokens=2_000_000",
    "headrace sweep -c mine.yaml -c sweep.yaml --dry-run",
)
def sweep(overrides: Overrides = None, config: Files = None, as_json: Json = False, dry_run: DryRun = False) -> None:
    """Many trials on the same recorded rounds: which settings are best? Ends with a table and best.yaml."""
    from ray_jobs.sweep.command import sweep_command

    outcome = sweep_command(read(config, overrides), as_json=as_json, dry_run=dry_run)
    finish(outcome.code, outcome.summary, as_json)
