"""How does a checkpoint come by its scores, where they were not kept? In a task on the cluster."""

import tempfile
from pathlib import Path

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
from ray_jobs.evaluation.scores import read_scores, score, with_nats, write_scores


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
    gpus = int(ray.cluster_resources().get("GPU", 0) > 0)
    task = ray.remote(num_cpus=0 if gpus else 1, num_gpus=gpus, max_retries=3)(_score_task)
    table = ray.get(task.remote(config.model_dump_json(), tokenizer_json, name, last))
    if name is not None:
        write_scores(store, run, step, table)
    return table


def _score_task(config_json: str, tokenizer_json: str, name: str | None, last_window: int) -> pa.Table:
    config, tokenizer = Config.model_validate_json(config_json), Tokenizer.from_json(tokenizer_json)
    store = Store.open(config.store)
    model, weights = config.model, None
    if name is not None:
        commit = commits.by_name(store, name)
        model = model_config(commit.state.model)
        with tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
            weights = read_full_weights(fetch_files(store, commit, Path(scratch)))
    scorer = scoring.scorer(model, tokenizer.vocab_size, config.seed, weights)
    data = held_out(Lake(store), last_window, config.evaluate, model.row_tokens, tokenizer.document_token)
    return with_nats(data, score(data, scorer))
