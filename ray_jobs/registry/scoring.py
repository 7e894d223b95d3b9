"""How does a checkpoint come by its scores, where they were not kept? In a task on the cluster."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import ray

from cluster.storage.store import Store
from data_ops.documents.tokenizer import Tokenizer
from data_ops.lake.lake import Lake
from models.engine.checkpoint import read_full_weights
from models.kinds.kinds import model_config
from models.measures import scoring
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.files import fetch_files
from ray_jobs.config.schema import Config
from ray_jobs.evaluation.held_out import held_out
from ray_jobs.evaluation.scores import read_scores, write_scores
from ray_jobs.evaluation.tasks.held_out_bits import HeldOutBits
from ray_jobs.evaluation.tasks.task import Scorer, Scores
from ray_jobs.evaluation.tasks.tasks import further_tasks


def scores_of(config: Config, tokenizer_json: str, name: str | None) -> pa.Table:
    """Per-document figures of a checkpoint (None: the untrained model) on every held-out document of now.

    What a run scored itself at that step is used if it covers the same documents; else a Ray task scores it.
    """
    store = Store.open(config.store)
    lake = Lake(store)
    last = lake.last_window()
    if name is not None:
        run, _, step = name.rpartition("/")
        tokenizer = Tokenizer.from_json(tokenizer_json)
        wanted = held_out(lake, last, config.evaluate, config.model.row_tokens, tokenizer.document_token)
        try:
            found = read_scores(store, run, step)
        except FileNotFoundError:
            found = None
        if found is not None and found["id"].combine_chunks().equals(wanted.table["id"].combine_chunks()):
            return found
    table = _on_cluster(_score_task, config, tokenizer_json, name, last)
    if name is not None:
        write_scores(store, run, step, table)
    return table


def task_scores(config: Config, tokenizer_json: str, name: str | None) -> dict[str, Scores]:
    """Scores of a checkpoint at each task in `evaluate.tasks`; asked anew, because settings may have changed."""
    if not further_tasks(config.evaluate):
        return {}
    last = Lake(Store.open(config.store)).last_window()
    return _on_cluster(_run_tasks, config, tokenizer_json, name, last)


Found = TypeVar("Found")


def _on_cluster(
    ask: Callable[[str, str, str | None, int], Found], config: Config, tokenizer_json: str, name: str | None, last: int
) -> Found:
    gpus = int(ray.cluster_resources().get("GPU", 0) > 0)
    task = ray.remote(num_cpus=0 if gpus else 1, num_gpus=gpus, max_retries=3)(ask)
    found: Found = ray.get(task.remote(config.model_dump_json(), tokenizer_json, name, last))
    return found


def _score_task(config_json: str, tokenizer_json: str, name: str | None, last_window: int) -> pa.Table:
    return HeldOutBits().nats(_scorer(Config.model_validate_json(config_json), tokenizer_json, name, last_window))


def _run_tasks(config_json: str, tokenizer_json: str, name: str | None, last_window: int) -> dict[str, Scores]:
    config = Config.model_validate_json(config_json)
    scorer = _scorer(config, tokenizer_json, name, last_window)
    return {task: member.run(scorer) for task, member in further_tasks(config.evaluate).items()}


def _scorer(config: Config, tokenizer_json: str, name: str | None, last_window: int) -> Scorer:
    """Load a checkpoint (None: the untrained model) in this process, to be asked."""
    store, tokenizer = Store.open(config.store), Tokenizer.from_json(tokenizer_json)
    model, weights = config.model, None
    if name is not None:
        commit = commits.by_name(store, name)
        model = model_config(commit.state.model)
        with tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
            weights = read_full_weights(fetch_files(store, commit, Path(scratch)))
    evaluate = scoring.scorer(model, tokenizer.vocab_size, config.seed, weights)
    return Scorer(evaluate, tokenizer, model.row_tokens, Lake(store), last_window, config.evaluate)
