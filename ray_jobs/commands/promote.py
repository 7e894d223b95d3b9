"""What do `headrace evaluate`, `promote`, `export` and `generate` do with a checkpoint?"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

from cluster.runtime.session import connect
from cluster.storage.seal import DamagedError
from cluster.storage.store import Store
from cluster.storage.uri import expanded_path
from data_ops.conversations.template import TEMPLATE, template_of
from data_ops.lake.lake import Lake
from models.config import Objective
from models.engine.weights import StoredWeights
from models.kinds.exchange.adapter import write_adapter
from models.kinds.kind import Handover, Precision, Pretrained
from models.kinds.kinds import kind_of, model_config
from models.sampling import AskedText
from ray_jobs.cards.command import write_readme
from ray_jobs.checkpoints.champion import InService
from ray_jobs.checkpoints.files import fetch_files
from ray_jobs.checkpoints.weights import full_weights
from ray_jobs.config.schema import Config
from ray_jobs.evaluation.harness.result import Figure
from ray_jobs.evaluation.scores import by_slice
from ray_jobs.evaluation.tasks.tasks import further_tasks, only_tasks
from ray_jobs.ingest.opening import refuse_other_tokenizer
from ray_jobs.origin.record import read_files
from ray_jobs.outcome import ConfigError
from ray_jobs.registry.champion import put_in_service_by_hand
from ray_jobs.registry.judge import Candidate, judge_and_promote
from ray_jobs.registry.lineage import tell_mlflow
from ray_jobs.registry.meaning import chosen_checkpoint, exported_checkpoint
from ray_jobs.registry.scoring import scores_of, task_results, task_scores, weights_of
from ray_jobs.report.terminal import Display
from ray_jobs.serving.generate import Said, stream
from ray_jobs.serving.speaker import Speaker, chat_of
from ray_jobs.store.frozen import read_chat, read_tokenizer

EXIT_CODES = {"promoted": 0, "refused": 3, "not asked": 75}


class Scored(TypedDict):
    """How a checkpoint does on held-out text, by slice, and in further tasks, by slice of each."""

    checkpoint: str
    slices: dict[str, dict[str, float]]
    tasks: NotRequired[dict[str, dict[str, dict[str, float]]]]
    figures: NotRequired[dict[str, dict[str, Figure]]]  # of tasks of lm-eval: every metric, with its interval
    measure: NotRequired[str]  # what the figures of slices are called, where they are no plain bits per byte


class Exported(TypedDict):
    """Which checkpoint was written where.

    stands_on: of an adapter, the weights it belongs to; without_card: why; left_out: what no such folder has.
    """

    checkpoint: str
    directory: str
    stands_on: NotRequired[str | None]
    without_card: NotRequired[str]
    left_out: NotRequired[str]


def evaluate_checkpoint(config: Config, name: str | None, tasks: Sequence[str] = ()) -> Scored:
    """Score a checkpoint (default: the run's last) on held-out text and further tasks; or at the named tasks alone."""
    if tasks:
        config = config.model_copy(update={"evaluate": only_tasks(config.evaluate, tasks)})
    for task in further_tasks(config.evaluate).values():
        task.check()
    store, commit = chosen_checkpoint(config, name)
    tokenizer_json = read_tokenizer(store).to_json()
    with connect(config.cluster):
        table = None if tasks else scores_of(config, tokenizer_json, commit.name)
        asked = task_scores(config, tokenizer_json, commit.name)
    shown = {name: {s: score._asdict() for s, score in found.by_slice().items()} for name, found in asked.items()}
    scored: Scored = {"checkpoint": commit.name, "slices": {} if table is None else by_slice(table)}
    if (learns := model_config(commit.state.model).learns) != Objective.CAUSAL:
        scored["measure"] = learns.measure
    if shown:
        scored["tasks"] = shown
    if figures := task_results(config, commit.name):
        scored["figures"] = {task: result.figures for task, result in figures.items()}
    return scored


def task_lines(found: Scored) -> Iterator[str]:
    """Tell what a checkpoint showed at tasks, a metric or a slice a line."""
    figures = found.get("figures", {})
    for task, slices in found.get("tasks", {}).items():
        for metric, figure in figures.get(task, {}).items():
            sure = "" if figure.low is None else f" [{figure.low:.4f}, {figure.high:.4f}]"
            yield f"{figure.value:8.4f}{sure} {metric}  {figure.questions:,} questions  {task}"
        for name, score in slices.items() if task not in figures else ():
            yield f"{score['value']:8.4f}  {score['n']:,} items  {name} of {task}"


def promote_checkpoint(config: Config, name: str | None, *, as_json: bool) -> tuple[int, Mapping[str, object]]:
    """Let the gate judge a checkpoint (default: the run's last) against the champion; exit code and decision."""
    store, commit = chosen_checkpoint(config, name)
    tokenizer_json = read_tokenizer(store).to_json()
    details = {"last_window": Lake(store).last_window(), "weights_sha256": weights_of(store, commit)}
    with connect(config.cluster):
        decision = judge_and_promote(config, tokenizer_json, [Candidate(commit, details)]).decision.to_dict()
    tell_mlflow(store, config.telemetry.mlflow)
    with Display(json=as_json) as display:
        display.judge(decision)
    return EXIT_CODES[decision["verdict"]], {"checkpoint": commit.name, **decision}


def promote_by_hand(config: Config, name: str, *, new_reference: bool = False) -> InService:
    """Put a committed checkpoint in service without the gate, for example to move back.

    new_reference: what old text has lost over the champions so far is accepted, and counted anew from here.
    """
    store = Store.open(config.store)
    entry = put_in_service_by_hand(store, chosen_checkpoint(config, name)[1].name, new_reference=new_reference)
    tell_mlflow(store, config.telemetry.mlflow)
    return entry


def export_checkpoint(
    config: Config, name: str | None, directory: str | None, precision: Precision = Precision.FP32
) -> Exported:
    """Write a checkpoint (default: the champion, else the run's last) as a Hugging Face directory, with its card."""
    if directory is None:
        raise ConfigError("--to is missing; name the directory to write, for example --to=./model")
    store = Store.open(config.store)
    commit = exported_checkpoint(config, name)[1]
    tokenizer = read_tokenizer(store)
    refuse_other_tokenizer(store, commit, tokenizer)
    target, shape = expanded_path(directory).absolute(), model_config(commit.state.model).whole
    files = read_files(store, commit.state.base)
    if (chat := read_chat(store)) is not None and template_of(files, tokenizer) is None:
        files = {**files, TEMPLATE: chat.source.encode()}
    handover = Handover(tokenizer.to_json(), tokenizer.document_token, precision, files)
    with tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
        weights = full_weights(store, commit, Path(scratch))
        model = Pretrained(shape, shape.tokens_of(tokenizer.vocab_size), weights)
        kind_of(shape).export(model, handover, target)
    exported: Exported = {"checkpoint": commit.name, "directory": str(target)}
    if shape.further:
        exported["left_out"] = f"the {shape.further} heads of further tokens (model.mtp), which no family has"
    try:
        write_readme(store, config, commit.name, target)
    except DamagedError as error:  # the weights were compared with their own digests
        exported["without_card"] = str(error)
    return exported


def export_adapter(
    config: Config, name: str | None, directory: str | None, precision: Precision = Precision.FP32
) -> Exported:
    """Write the adapters of a checkpoint (default: as above) without the weights they stand beside, for peft."""
    if directory is None:
        raise ConfigError("--to is missing; name the directory to write, for example --to=./adapter")
    store, commit = exported_checkpoint(config, name)
    target, shape = expanded_path(directory).absolute(), model_config(commit.state.model)
    with tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
        try:
            write_adapter(shape, StoredWeights(fetch_files(store, commit, Path(scratch))), precision, target)
        except ValueError as error:
            raise ConfigError(f"checkpoint {commit.name}: {error}") from error
    return {"checkpoint": commit.name, "directory": str(target), "stands_on": shape.start}


def go_on(config: Config, name: str | None, asked: AskedText, show: Callable[[str], None]) -> tuple[str, Said]:
    """Let a checkpoint (default: the champion, else the run's last) go on with a text, or answer it; name and text."""
    store, commit = exported_checkpoint(config, name)
    speaker = Speaker(store, commit, config.engine.precision)
    if not asked.chat:
        return commit.name, stream(speaker.tokenizer, speaker.go_on(asked.prompt, asked.tokens, asked.how), show)
    chat = chat_of(store, commit, speaker.tokenizer)
    if chat is None:
        raise ConfigError(f"checkpoint {commit.name} has no chat template to be asked by; leave --chat out")
    return commit.name, stream(speaker.tokenizer, speaker.answer(asked.prompt, chat, asked.tokens, asked.how), show)
