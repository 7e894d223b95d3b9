"""The commands that look into a store: status, watch, report, explore, verify, trace; and forget, which deletes."""

import typer

from ray_jobs.command_line.ending import finish, show, tell
from ray_jobs.command_line.options import (
    All,
    Deep,
    Files,
    IdFile,
    Ids,
    Json,
    NumSamples,
    Overrides,
    Reported,
    Site,
    Sources,
    ToPage,
    command,
    split,
)
from ray_jobs.command_line.reading import read_as_written, read_run, read_store
from ray_jobs.serving.answer_id import read_answer_id

commands = typer.Typer()
PANEL = "Look"


@command(commands, PANEL, "headrace status", "headrace status store=s3://acme/lake")
def status(overrides: Overrides = None, config: Files = None, as_json: Json = False) -> None:
    """Runs of a store, who drives them, how far they are, and the champion."""
    from ray_jobs.commands import status as runs

    found = runs.status(read_store(config, overrides))
    if not as_json:
        show(runs.status_lines(found))
    finish(0, found, as_json)


@command(commands, PANEL, "headrace watch", "headrace watch store=./lake name=mine")
def watch(overrides: Overrides = None, config: Files = None) -> None:
    """Watch a live run from another terminal."""
    from ray_jobs.commands.status import watch as look

    look(read_run(config, overrides))


@command(commands, PANEL, "headrace report", "headrace report store=./lake name=mine")
def report(overrides: Overrides = None, config: Files = None, as_json: Json = False) -> None:
    """Write the report of a run anew from what the store holds; also while the run goes on."""
    from ray_jobs.commands.report import rewrite_report

    place = rewrite_report(read_run(config, overrides))
    tell(f"report    {place}")
    finish(0, {"report": place}, as_json)


@command(
    commands,
    PANEL,
    "headrace explore store=./lake",
    "headrace explore -c mine.yaml --sources --to corpus.html",
    "headrace explore store=./lake --site example.com",
)
def explore(
    overrides: Overrides = None,
    config: Files = None,
    as_json: Json = False,
    to: ToPage = "explorer.html",
    samples: NumSamples = 3,
    site: Site = None,
    sources: Sources = False,
) -> None:
    """Write a page of what is in the store: sources, sites, months, lengths, what became of it, and what rules drop.

    With --sources also the texts of dropped samples, and what each rule drops alone, read again from the sources.
    """
    from ray_jobs.explorer.command import explore_command

    store = read_store(config, overrides)
    asked = read_as_written(config, overrides)
    lines, told = explore_command(store, asked, to=to, site=site, samples=samples, sources=sources)
    show(lines, unless=as_json)
    finish(0, told, as_json)


@command(commands, PANEL, "headrace verify", "headrace verify -c mine.yaml --sources")
def verify(
    overrides: Overrides = None,
    config: Files = None,
    as_json: Json = False,
    sources: Sources = False,
    every: All = False,
    deep: Deep = False,
) -> None:
    """Prove from the lake alone that no document was lost or repeated, with --deep also that no byte has changed.

    Of the store's only run, or of name=RUN.
    """
    from ray_jobs.commands.verify import verify_command

    audit = verify_command(read_run(config, overrides), sources=sources, every=every, deep=deep, as_json=as_json)
    finish(0 if audit.ok else 1, audit.to_dict(), as_json)


@command(
    commands,
    PANEL,
    "headrace trace 4f1c2a store=./lake",
    "headrace trace news:/data/texts/a.jsonl:120",
    "headrace trace chatcmpl-… store=./lake",
)
def trace(ids: Ids = None, config: Files = None, as_json: Json = False) -> None:
    """Where a document came from, what happened to it, what has seen it: trace ID, or source:partition:offset.

    Of an answer (the id that it bears): which checkpoint gave it, and which rounds taught that.
    """
    from ray_jobs.commands import tracing

    names, overrides = split(ids)
    store = read_as_written(config, overrides).store
    if len(names) == 1 and (answer := read_answer_id(names[0])) is not None:
        told = tracing.trace_answer(store, names[0], answer)
        if not as_json:
            show(tracing.answer_story_lines(told))
        finish(0, told, as_json)
    story = tracing.trace(store, names)
    if not as_json:
        show(tracing.trace_lines(story))
    finish(0, story, as_json)


@command(
    commands,
    PANEL,
    "headrace forget 4f1c2a…(32 digits) store=./lake",
    "headrace forget --file ids.txt",
    "headrace forget --report ticket-4711",
)
def forget(
    ids: Ids = None, config: Files = None, as_json: Json = False, file: IdFile = None, report: Reported = False
) -> None:
    """Delete documents for good: forget ID ID ..., or --file ids.txt; with --report tell what is known of them."""
    from ray_jobs.commands import forget, request

    names, overrides = split(ids)
    names += forget.read_ids(file) if file is not None else []
    if report:
        told = request.report_on(read_store(config, overrides).uri, names)
        show(request.report_lines(told), unless=as_json)
        finish(0, told, as_json)
    done = forget.forget(read_as_written(config, overrides), names)
    if not as_json:
        show(forget.forget_lines(done))
    finish(0, done, as_json)
