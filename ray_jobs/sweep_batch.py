"""Which batch do the best trial's weights ask for?

The gradient noise scale of its last commit on rows that the sweep trained, measured in a Ray task: a few dozen forward
and backward passes. It is a prior beside what the trials themselves show (tune/policy.critical_batch).
"""

import math
import tempfile
from pathlib import Path

import ray

from cluster.storage import Store
from data_ops.tokenizer import Tokenizer
from models.checkpoint import read_full_weights
from models.noise import gradient_noise
from ray_jobs import commit as commits
from ray_jobs.config import Config
from ray_jobs.sweep_job import SweepJob, segment_run
from ray_jobs.sweep_rounds import Diet, RecordedRows

BATCHES, LEAST_ROWS = 32, 2  # so many small batches of at least so many rows; of all rows, if there are fewer


def measure_noise(job: SweepJob, key: str, config: Config, diet: Diet, resources: dict[str, float]) -> float | None:
    """The noise scale in tokens; None without a commit of that trial, or where noise hides the gradient."""
    if commits.newest_readable(Store.open(job.store), segment_run(job.run, key)) is None:
        return None
    task = ray.remote(num_cpus=resources.get("CPU", 1.0), num_gpus=resources.get("GPU", 0.0), max_retries=3)(_measure)
    found: float = ray.get(task.remote(job, key, config.model_dump_json(), diet))
    return found if math.isfinite(found) else None


def _measure(job: SweepJob, key: str, config_json: str, diet: Diet) -> float:
    store, config = Store.open(job.store), Config.model_validate_json(config_json)
    known = Tokenizer.from_json(job.tokenizer)
    commit = commits.newest_readable(store, segment_run(job.run, key))
    assert commit is not None
    with tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
        weights = read_full_weights(commits.fetch(store, commit, Path(scratch)))
    source, count = RecordedRows(store, diet, known.document_token), max(LEAST_ROWS, config.engine.micro_batch_rows)
    batches = min(BATCHES, sum(diet.rows) // count)
    small = (source.batch(n * count, count)[0] for n in range(batches))
    return gradient_noise(config.model, known.vocab_size, config.seed, weights, small).tokens
