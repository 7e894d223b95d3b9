"""The command line: `headrace COMMAND -c FILE.yaml key.path=value --json`.

Every command reads one checked configuration, does one thing and says how it ended by its exit code:
0 ok, 1 failed, 2 usage or configuration, 3 gate refused, 75 try again, 143 stopped after a checkpoint.
"""

import json
import logging
import os
import sys

import typer

from cluster.runtime.private_files import keep_private
from cluster.telemetry.logs import setup_logging
from ray_jobs.commands.options import (
    Address,
    Checkpoint,
    ClusterFile,
    Detach,
    DryRun,
    File,
    Files,
    Follow,
    Json,
    Python,
    To,
    expected,
    fail,
    finish,
    show,
    split,
    tell,
)
from ray_jobs.config.schema import Config
from ray_jobs.config.wandb_agent import agent_config

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Keep language models current: read, curate, sample, train, judge, promote, repeat.",
)
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


def command(context: typer.Context, files: list[str] | None) -> Config:
    """Read the configuration of a command; extra arguments are key.path=value overrides."""

    setup_logging()
    logging.getLogger().setLevel(logging.ERROR)
    config = agent_config(files or [], context.args, os.environ)
    keep_private(only_if=config.store_mode == "private")
    return config


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
    from cluster.redaction import redact
    from ray_jobs.driver.preflight import check_run
    from ray_jobs.report.terminal import Display

    config = command(context, files)
    follow = follow or config.round.starved != "stop"
    check_run(config, follow=follow)
    if dry_run:
        plan = redact(config.model_dump(mode="json"))
        if not as_json:
            show(json.dumps(plan, indent=1).splitlines())
        finish(0, plan, as_json)
    from ray_jobs.driver.run import run as run_all  # seconds, for it brings torch: a mistake is answered before

    with Display(json=as_json) as display:
        outcome = run_all(config, display, follow=follow, judged=judged)
    finish(outcome.code, outcome.summary, as_json)


@app.command(context_settings=PASS_ON)
def ingest(context: typer.Context, config: Files = None, as_json: Json = False, follow: Follow = False) -> None:
    """Take documents in, without training."""
    from ray_jobs.commands.ingest import ingest_only
    from ray_jobs.driver.preflight import check_run
    from ray_jobs.report.terminal import Display

    settings = command(context, config)
    check_run(settings, follow=follow, drives=False)
    with Display(json=as_json) as display:
        counts = ingest_only(settings, display, follow=follow)
    finish(143 if counts["stopped"] else 0, counts, as_json)


@app.command(context_settings=PASS_ON)
def submit(
    context: typer.Context,
    config: Files = None,
    as_json: Json = False,
    follow: Follow = False,
    address: Address = None,
    detach: Detach = False,
    python: Python = "python",
) -> None:
    """`run` as a job on a cluster: upload, start, show its output, end with its exit code."""
    from ray_jobs.commands.submit import submit as submit_job

    settings = command(context, config)  # sources and store are looked at there, not from here
    echo = sys.stderr.write if as_json else sys.stdout.write
    ended = submit_job(settings, address, follow=follow, detach=detach, python=python, echo=echo)
    finish(ended.code, ended._asdict(), as_json)


@app.command(context_settings=PASS_ON)
def evaluate(
    context: typer.Context, config: Files = None, as_json: Json = False, checkpoint: Checkpoint = None
) -> None:
    """Bits per byte of a checkpoint on every held-out slice."""
    from ray_jobs.commands.promote import evaluate_checkpoint

    found = evaluate_checkpoint(command(context, config), checkpoint)
    if not as_json:
        for name, row in found["slices"].items():
            show([f"{row['bits_per_byte']:8.4f} bits/byte  {row['documents']:6,} documents  {name}"])
    finish(0, found, as_json)


@app.command(context_settings=PASS_ON)
def promote(
    context: typer.Context, config: Files = None, as_json: Json = False, checkpoint: Checkpoint = None, to: To = None
) -> None:
    """Let the gate judge a checkpoint (default: the run's last), or move the champion by hand with --to."""
    from ray_jobs.commands.promote import promote_by_hand, promote_checkpoint
    from ray_jobs.report.terminal import Display

    settings = command(context, config)
    if to is not None:
        entry = promote_by_hand(settings, to)
        tell(f"champion is {entry['checkpoint']} (was {entry['previous']})")
        finish(0, entry, as_json)
    decision = promote_checkpoint(settings, checkpoint)
    with Display(json=as_json) as display:
        display.judge(decision)
    finish(0 if decision["promoted"] else 3, decision, as_json)


@app.command(context_settings=PASS_ON)
def sweep(context: typer.Context, config: Files = None, as_json: Json = False, dry_run: DryRun = False) -> None:
    """Many trials on the same recorded rounds: which settings are best? Ends with a table and best.yaml."""
    from ray_jobs.commands.sweep import sweep_command

    sweep_command(command(context, config), as_json=as_json, dry_run=dry_run)


@app.command(context_settings=PASS_ON)
def verify(context: typer.Context, config: Files = None, as_json: Json = False) -> None:
    """Prove from the lake alone that no document was lost or repeated."""
    from ray_jobs.commands.verify import verify as audit_run
    from ray_jobs.report.terminal import Display

    audit = audit_run(command(context, config))
    with Display(json=as_json) as display:
        display.ledger(audit.to_dict())
        for problem in audit.problems:
            display.note(problem)
    finish(0 if audit.ok else 1, audit.to_dict(), as_json)


@app.command(context_settings=PASS_ON)
def trace(context: typer.Context, config: Files = None, as_json: Json = False) -> None:
    """Where a document came from, what happened to it, what has seen it: trace ID, or source:partition:offset."""
    from ray_jobs.commands.tracing import trace as find
    from ray_jobs.commands.tracing import trace_lines

    names = split(context)
    story = find(command(context, config).store, names)
    if not as_json:
        show(trace_lines(story))
    finish(0, story, as_json)


@app.command(context_settings=PASS_ON)
def forget(context: typer.Context, config: Files = None, as_json: Json = False, file: File = None) -> None:
    """Delete documents from the store for good: forget ID ID ..., or --file ids.txt."""
    from ray_jobs.commands.forget import forget as delete
    from ray_jobs.commands.forget import forget_lines, read_ids

    names = split(context)
    done = delete(command(context, config), [*names, *(read_ids(file) if file is not None else [])])
    if not as_json:
        show(forget_lines(done))
    finish(0, done, as_json)


@app.command(context_settings=PASS_ON)
def report(context: typer.Context, config: Files = None, as_json: Json = False) -> None:
    """Write the report of a run anew from what the store holds."""
    from ray_jobs.commands.report import rewrite_report

    place = rewrite_report(command(context, config))
    tell(f"report    {place}")
    finish(0, {"report": place}, as_json)


@app.command(context_settings=PASS_ON)
def status(context: typer.Context, config: Files = None, as_json: Json = False) -> None:
    """Runs of a store, who drives them, how far they are, and the champion."""
    from cluster.storage.store import Store
    from ray_jobs.commands.status import status as look
    from ray_jobs.commands.status import status_lines

    found = look(Store.open(command(context, config).store))
    if not as_json:
        show(status_lines(found))
    finish(0, found, as_json)


@app.command(context_settings=PASS_ON)
def watch(context: typer.Context, config: Files = None) -> None:
    """Watch a live run from another terminal."""
    from ray_jobs.commands.status import watch as look

    look(command(context, config))


@app.command(context_settings=PASS_ON)
def plan(context: typer.Context, config: Files = None, as_json: Json = False) -> None:
    """Memory, hours and money of a training run, before anything is rented: plan.parameters=7B plan.tokens=1T."""
    from cluster.planner.plan import plan as compute
    from ray_jobs.commands.plan import plan_asked, show_plan

    found = compute(plan_asked(command(context, config)))
    if not as_json:
        show_plan(found)
    finish(0, found, as_json)


@app.command(context_settings=PASS_ON)
def export(
    context: typer.Context, config: Files = None, as_json: Json = False, checkpoint: Checkpoint = None, to: To = None
) -> None:
    """Write a checkpoint (default: the champion) as a Hugging Face Llama directory: --to=DIRECTORY."""
    from ray_jobs.commands.promote import export_checkpoint

    found = export_checkpoint(command(context, config), checkpoint, to)
    tell(f"exported  {found['checkpoint']} to {found['directory']}")
    finish(0, found, as_json)


@app.command(context_settings=PASS_ON)
def doctor(
    context: typer.Context, config: Files = None, as_json: Json = False, cluster_file: ClusterFile = None
) -> None:
    """Check machine, cluster, storage rights and authentication; say the mend of what is wrong."""
    from ray_jobs.commands.doctor import check_cluster_file, doctor_table, examine

    settings = command(context, config)
    if cluster_file:
        checks = check_cluster_file(cluster_file)
    else:
        checks = examine(settings.store if config or context.args else None, settings.cluster.address)
    if not as_json:
        show(doctor_table(checks).splitlines())
    failed = any(check.state == "fail" for check in checks)
    finish(int(failed), {"ok": not failed, "checks": [check._asdict() for check in checks]}, as_json)


def main() -> None:
    """Run the command line; a mistake of the user is told in a sentence, without a traceback."""
    try:
        app(prog_name="headrace")
    except SystemExit:
        raise
    except expected() as error:  # only looked up where something failed
        from ray_jobs.outcome import ConfigError

        if isinstance(error, ConfigError):
            fail(2, str(error))
        fail(75 if type(error).__name__ == "ClusterLostError" else 1, " ".join(str(error).split()))


if __name__ == "__main__":
    main()
