"""How does a checkpoint come by its scores, where they were not kept? In a task on the cluster."""

import logging
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import ray

from cluster.storage.store import Store
from data_ops.documents.tokenizer import Tokenizer
from data_ops.lake.lake import Lake
from data_ops.rounds.masking import RowObjective
from models.kinds.kinds import model_config
from models.measures.scoring import AskedModel
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.files import fetch_files
from ray_jobs.checkpoints.weights import full_weights, hash_checkpoint
from ray_jobs.config.schema import Config
from ray_jobs.evaluation.harness.asking import Harness
from ray_jobs.evaluation.harness.result import TaskResult
from ray_jobs.evaluation.held_out import held_out
from ray_jobs.evaluation.row_objective import judged_objective
from ray_jobs.evaluation.scores import read_scores, write_scores
from ray_jobs.evaluation.tasks.held_out_bits import HeldOutBits
from ray_jobs.evaluation.tasks.lm_eval import LmEval, scores_of_task
from ray_jobs.evaluation.tasks.task import Scorer, Scores, Task
from ray_jobs.evaluation.tasks.tasks import further_tasks, pinned
from ray_jobs.ingest.opening import refuse_other_tokenizer

logger = logging.getLogger(__name__)

JUDGED = "-judged"  # figures on the documents of a judgement, beside those of training


def weights_of(store: Store, commit: commits.Commit) -> str:
    """Hash the weights of a checkpoint."""
    with tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
        return hash_checkpoint(commit, fetch_files(store, commit, Path(scratch)))


def scores_of(
    config: Config, tokenizer_json: str, name: str | None, last_window: int | None = None, only: pa.Array | None = None
) -> pa.Table:
    """Per-document figures of a checkpoint (None: the untrained model) on held-out documents.

    last_window: the newest that counts, else the last one; only: ids of the documents, else those that are scored in
    training. What was scored before is used if it covers them; else a Ray task scores.
    """
    store = Store.open(config.store)
    lake = Lake(store)
    last = lake.last_window() if last_window is None else last_window
    if name is not None:
        run, _, step = name.rpartition("/")
        tokenizer, wanted = Tokenizer.from_json(tokenizer_json), only
        refuse_other_tokenizer(store, commits.by_name(store, name), tokenizer)
        if wanted is None:
            data = held_out(
                lake, last, config.evaluate, config.model.row_tokens, RowObjective(tokenizer.document_token)
            )
            wanted = data.table["id"].combine_chunks()
        for kept in (step, f"{step}{JUDGED}"):
            if (found := _kept_scores(store, run, kept, wanted)) is not None:
                return found
    table = _on_cluster(partial(_score_task, only), config, tokenizer_json, name, last)
    if name is not None:
        write_scores(store, run, step if only is None else f"{step}{JUDGED}", table)
    return table


def _kept_scores(store: Store, run: str, name: str, wanted: pa.Array) -> pa.Table | None:
    """What was scored before, if it covers the documents."""
    try:
        found = read_scores(store, run, name)
    except FileNotFoundError:
        return None
    found = found.filter(pc.is_in(found["id"], wanted)).combine_chunks()
    return found if found.num_rows == len(wanted) else None


def task_scores(
    config: Config, tokenizer_json: str, name: str | None, last_window: int | None = None
) -> dict[str, Scores]:
    """Scores of a checkpoint at each task in `evaluate.tasks`. What a task keeps of it is used, else it is asked."""
    store = Store.open(config.store)
    evaluate = pinned(config.evaluate, store)
    tasks = further_tasks(evaluate)
    found = {task: scores_of_task(kept) for task, kept in _kept_results(store, name, tasks).items()}
    missing = tuple(entry for entry, task in zip(evaluate.tasks, tasks, strict=True) if task not in found)
    if missing:
        asked = config.model_copy(update={"evaluate": evaluate.model_copy(update={"tasks": missing})})
        last = Lake(store).last_window() if last_window is None else last_window
        found |= _on_cluster(_run_tasks, asked, tokenizer_json, name, last)
    return {task: found[task] for task in tasks}


def task_results(config: Config, name: str) -> dict[str, TaskResult]:
    """What a checkpoint showed at tasks of lm-eval in `evaluate.tasks`, after `task_scores`, with all their metrics."""
    store = Store.open(config.store)
    return _kept_results(store, name, further_tasks(pinned(config.evaluate, store)))


def _kept_results(store: Store, name: str | None, tasks: Mapping[str, Task]) -> dict[str, TaskResult]:
    harness = {task: member for task, member in tasks.items() if isinstance(member, LmEval)} if name else {}
    kept = {task: member.kept(store, str(name)) for task, member in harness.items()}
    return {task: result for task, result in kept.items() if result is not None}


Found = TypeVar("Found")


def _on_cluster(
    ask: Callable[[str, str, str | None, int], Found], config: Config, tokenizer_json: str, name: str | None, last: int
) -> Found:
    gpus = int(ray.available_resources().get("GPU", 0) >= 1)  # workers of a run that goes on may hold all of them
    task = ray.remote(num_cpus=0 if gpus else 1, num_gpus=gpus, max_retries=3)(_call)
    found: Found = ray.get(task.remote(ask, config.model_dump_json(), tokenizer_json, name, last))
    return found


def _call(ask: Callable[..., Found], *asked: object) -> Found:
    return ask(*asked)


def _score_task(
    only: pa.Array | None, config_json: str, tokenizer_json: str, name: str | None, last_window: int
) -> pa.Table:
    scorer = _scorer(Config.model_validate_json(config_json), tokenizer_json, name, last_window)
    return HeldOutBits().nats(scorer, only)


def _run_tasks(config_json: str, tokenizer_json: str, name: str | None, last_window: int) -> dict[str, Scores]:
    config = Config.model_validate_json(config_json)
    scorer = _scorer(config, tokenizer_json, name, last_window)
    tasks = further_tasks(config.evaluate)
    with Harness() as harness:
        return {
            task: scores_of_task(member.result(scorer, name, harness))
            if isinstance(member, LmEval)
            else member.run(scorer)
            for task, member in tasks.items()
        }


def _scorer(config: Config, tokenizer_json: str, name: str | None, last_window: int) -> Scorer:
    """Load a checkpoint (None: the untrained model) in this process, to be asked."""
    store, tokenizer = Store.open(config.store), Tokenizer.from_json(tokenizer_json)
    model, weights = config.model, None
    if name is not None:
        commit = commits.by_name(store, name)
        model = model_config(commit.state.model)
        with tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
            weights = dict(full_weights(store, commit, Path(scratch)))
    asked = AskedModel(model, model.tokens_of(tokenizer.vocab_size), config.seed, weights)
    objective = judged_objective(model, tokenizer)
    lake = Lake(store)
    return Scorer(asked.evaluate, tokenizer, model.row_tokens, lake, last_window, config.evaluate, objective, asked)
