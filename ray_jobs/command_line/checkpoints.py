"""The commands that speak of checkpoints: evaluate, promote, export, generate, serve."""

from importlib.util import find_spec

import msgspec
import typer

from models.kinds.kind import Precision
from models.sampling import AskedText, Sampling
from ray_jobs.command_line.ending import finish, say, show, tell
from ray_jobs.command_line.options import (
    Adapter,
    AsChat,
    Asked,
    Checkpoint,
    Exported,
    Files,
    Host,
    InPrecision,
    Json,
    Overrides,
    Port,
    Prompt,
    Reference,
    Seed,
    Task,
    Temperature,
    ToCheckpoint,
    ToDirectory,
    TokenFile,
    Tokens,
    TopK,
    TopP,
    command,
    take,
)
from ray_jobs.command_line.reading import read_as_written, read_run
from ray_jobs.outcome import ConfigError

commands = typer.Typer()
PANEL = "Checkpoints"


@command(
    commands,
    PANEL,
    "headrace evaluate store=./lake",
    "headrace evaluate store=./lake --checkpoint mine/120 evaluate.period=year",
    "headrace evaluate store=./lake --checkpoint champion --task tasks/exam.yaml",
)
def evaluate(
    overrides: Overrides = None,
    config: Files = None,
    as_json: Json = False,
    checkpoint: Asked = None,
    task: Task = None,
) -> None:
    """Bits per byte of a checkpoint on every held-out slice, and its figures at tasks."""
    from ray_jobs.commands.promote import evaluate_checkpoint, task_lines

    found = evaluate_checkpoint(read_run(config, overrides), checkpoint, task or ())
    if not as_json:
        tell(f"checkpoint {found['checkpoint']}")
        show(
            f"{row['bits_per_byte']:8.4f} {found.get('measure', 'bits/byte')}  {row['documents']:6,} documents  {name}"
            for name, row in found["slices"].items()
        )
        show(task_lines(found))
    finish(0, msgspec.to_builtins(found), as_json)


@command(
    commands,
    PANEL,
    "headrace promote -c mine.yaml",
    "headrace promote store=./lake --to mine/120",
)
def promote(
    overrides: Overrides = None,
    config: Files = None,
    as_json: Json = False,
    checkpoint: Checkpoint = None,
    to: ToCheckpoint = None,
    reference: Reference = False,
) -> None:
    """Let the gate judge a checkpoint (default: the run's last), or move the champion by hand with --to."""
    from ray_jobs.commands.promote import promote_by_hand, promote_checkpoint

    target, rest = take("to", to, overrides)
    settings = read_run(config, rest)
    if target is not None:
        entry = promote_by_hand(settings, target, new_reference=reference)
        tell(f"champion is {entry.checkpoint} (was {entry.previous})")
        finish(0, msgspec.to_builtins(entry), as_json)
    finish(*promote_checkpoint(settings, checkpoint, as_json=as_json), as_json)


@command(
    commands,
    PANEL,
    "headrace export store=./lake --to ./model",
    "headrace export store=./lake --checkpoint mine/120 --to ./model --precision bf16",
    "headrace export store=./lake --adapter --to ./adapter",
)
def export(
    overrides: Overrides = None,
    config: Files = None,
    as_json: Json = False,
    checkpoint: Exported = None,
    to: ToDirectory = None,
    precision: InPrecision = Precision.FP32,
    adapter: Adapter = False,
) -> None:
    """Write a checkpoint (default: the champion) as a Hugging Face directory, adapters merged in, or these alone."""
    from ray_jobs.commands.promote import export_adapter, export_checkpoint

    target, rest = take("to", to, overrides)
    write = export_adapter if adapter else export_checkpoint
    found = write(read_run(config, rest), checkpoint, target, precision)
    tell(f"exported  {found['checkpoint']} to {found['directory']}")
    if "left_out" in found:
        tell(f"left out  {found['left_out']}")
    if "without_card" in found:
        tell(f"no card   {found['without_card']}")
    finish(0, found, as_json)


@command(
    commands,
    PANEL,
    "headrace generate 'The harbour was' store=./lake",
    "headrace generate 'The harbour was' store=./lake --checkpoint mine/120 --tokens 40 --temperature 0",
    "headrace generate 'Where is the harbour?' store=./lake --chat",
)
def generate(
    prompt: Prompt,
    overrides: Overrides = None,
    config: Files = None,
    as_json: Json = False,
    checkpoint: Exported = None,
    tokens: Tokens = 128,
    temperature: Temperature = 0.8,
    top_p: TopP = 0.95,
    top_k: TopK = None,
    seed: Seed = 0,
    chat: AsChat = False,
) -> None:
    """Let a checkpoint (default: the champion) go on with a text, or answer it, token by token."""
    from ray_jobs.commands.promote import go_on

    settings = read_run(config, overrides)
    asked = AskedText(prompt, tokens, Sampling(temperature, top_p, top_k, seed), chat)
    say("" if chat else prompt, as_json)
    name, said = go_on(settings, checkpoint, asked, lambda piece: say(piece, as_json))
    say("\n", as_json)
    if said.forwards < said.tokens:
        tell(f"{said.tokens} tokens in {said.forwards} forward passes, {said.tokens / said.forwards:.2f} each")
    finish(0, {"checkpoint": name, "prompt": prompt, **said._asdict()}, as_json)


@command(
    commands,
    PANEL,
    "headrace serve store=./lake",
    "headrace serve -c mine.yaml --host 0.0.0.0 --port 8000 --token-file serve.token serve.batch=16",
)
def serve(
    overrides: Overrides = None,
    config: Files = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    token_file: TokenFile = None,
) -> None:
    """Let the store's champion answer as OpenAI's API does, and the next champion without a request lost."""
    if find_spec("uvicorn") is None:
        raise ConfigError("headrace serve needs uvicorn, which is not installed; pip install 'headrace[serve]'")
    from ray_jobs.serving.serve import serve_command

    serve_command(read_as_written(config, overrides), host, port, token_file, tell)
