"""The commands for the time before a run: init, schema, plan, doctor."""

from importlib.util import find_spec
from pathlib import Path

import typer

from cluster.planner.config import PlanConfig
from cluster.planner.plan import plan as compute
from ray_jobs.command_line.ending import finish, show, tell
from ray_jobs.command_line.options import (
    ClusterFile,
    Files,
    Host,
    Json,
    Looked,
    MaxBody,
    Overrides,
    Port,
    SpoolFolder,
    ToFile,
    TokenFile,
    command,
)
from ray_jobs.command_line.reading import read
from ray_jobs.config.json_schema import schema_text
from ray_jobs.outcome import ConfigError

commands = typer.Typer()
PANEL = "Prepare"


@command(commands, PANEL, "headrace init texts/", "headrace init 's3://acme/wire/**/*.jsonl.zst' --to wire.yaml")
def init(path: Looked, to: ToFile = "headrace.yaml", as_json: Json = False) -> None:
    """Look at files and write a short configuration that runs: headrace init PATH."""
    from ray_jobs.commands.init import propose

    if Path(to).exists():
        raise ConfigError(f"{to} is there already; name another file with --to, or delete it")
    proposal = propose(path)
    Path(to).write_text(proposal.text, encoding="utf-8")
    if not as_json:
        show([*proposal.lines, f"wrote {to}; next: headrace run -c {to}"])
    finish(0, {"file": to, "found": proposal.lines}, as_json)


@command(commands, PANEL, "headrace listen spool/", "headrace listen spool/ --host 0.0.0.0 --token-file push.token")
def listen(
    folder: SpoolFolder,
    host: Host = "127.0.0.1",
    port: Port = 8765,
    max_body: MaxBody = 8 << 20,
    token_file: TokenFile = None,
) -> None:
    """Take documents over HTTP: POST /documents is answered once they are durable in FOLDER, a source of files."""
    if find_spec("uvicorn") is None:
        raise ConfigError("headrace listen needs uvicorn, which is not installed; pip install 'headrace[push]'")
    from ray_jobs.ingest.listen import listen_command, source_of

    tell(f"listening  http://{host}:{port}/documents, into {folder}")
    tell(f"source     {source_of(folder)}")
    listen_command(folder, host, port, max_body, token_file)


@command(commands, PANEL, "headrace schema > headrace.schema.json", "headrace schema | jq .properties.optim")
def schema() -> None:
    """Print the JSON schema of the configuration, by which an editor completes and checks a YAML file.

    The file names it in its first line: `# yaml-language-server: $schema=headrace.schema.json`.
    """
    typer.echo(schema_text(), nl=False)


@command(
    commands,
    PANEL,
    "headrace plan plan.parameters=7B plan.tokens=1T",
    "headrace plan plan.parameters=350M plan.tokens=7B plan.gpu=h100 plan.days=3",
    "Keys: " + ", ".join(f"plan.{name}" for name in PlanConfig.model_fields),
)
def plan(overrides: Overrides = None, config: Files = None, as_json: Json = False) -> None:
    """Memory, hours and money of a training run, before anything is rented: plan.parameters=7B plan.tokens=1T."""
    from ray_jobs.commands.plan import plan_asked, show_plan

    found = compute(plan_asked(read(config, overrides)))
    if not as_json:
        show_plan(found)
    finish(0, found, as_json)


@command(
    commands,
    PANEL,
    "headrace doctor",
    "headrace doctor store=s3://acme/lake",
    "headrace doctor --cluster-file aws.yaml",
)
def doctor(
    overrides: Overrides = None, config: Files = None, as_json: Json = False, cluster_file: ClusterFile = None
) -> None:
    """Check machine, cluster, storage rights and authentication; say the mend of what is wrong."""
    from ray_jobs.commands.doctor import check_cluster_file, doctor_table, examine, look_at_sources

    settings = read(config, overrides)
    if cluster_file:
        checks = check_cluster_file(cluster_file)
    else:
        checks = examine(settings.store if config or overrides else None, settings.cluster.address)
        checks += look_at_sources(settings.sources)
    if not as_json:
        show(doctor_table(checks).splitlines())
    failed = any(check.state == "fail" for check in checks)
    finish(int(failed), {"ok": not failed, "checks": [check._asdict() for check in checks]}, as_json)
