"""Which batch do the best trial's weights ask for?

The gradient noise scale of its last commit on rows that the sweep trained, measured in a Ray task: a few dozen forward
and backward passes. It is a prior beside what the trials themselves show (tune/policy.critical_batch), so whatever goes
wrong here is told and costs nothing else.
"""

import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import ray
from ray.exceptions import RayError

from cluster.storage.store import Store
from data_ops.documents.tokenizer import Tokenizer
from models.config import EngineConfig
from models.engine.checkpoint import read_full_weights
from models.measures.gradient_noise import gradient_noise
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.files import fetch_files
from ray_jobs.config.schema import Config
from ray_jobs.evaluation.row_objective import training_objective
from ray_jobs.sweep.trial.job import SweepJob, segment_run
from ray_jobs.sweep.trial.recorded_rounds import Diet, RecordedRows

BATCHES, LEAST_ROWS = 32, 2  # so many small batches of at least so many rows; of all rows, if there are fewer


def measure_noise(
    job: SweepJob,
    key: str,
    config: Config,
    diet: Diet,
    resources: dict[str, float],
    say: Callable[[str, str], None],
) -> float | None:
    """The noise scale in tokens; None without a commit of that trial, or where it cannot be told."""
    task = ray.remote(num_cpus=resources.get("CPU", 1.0), num_gpus=resources.get("GPU", 0.0), max_retries=3)(_measure)
    try:
        if commits.newest_readable(Store.open(job.store), segment_run(job.run, key)) is None:
            return None
        found: float = ray.get(task.remote(job, key, config.model_dump_json(), diet))
    except (RayError, OSError, RuntimeError, ValueError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        say("note", f"the gradient noise scale is left out, it could not be measured: {(lines or ['no reason'])[-1]}")
        return None
    return found if math.isfinite(found) else None


def small_batches(engine: EngineConfig, row_tokens: int, diet: Diet) -> tuple[int, int]:
    """How many batches to measure, and the rows of each: as many as a forward pass of the trial had.

    >>> small_batches(EngineConfig(batch_tokens=2048), 512, Diet("a", (6, 4)))
    (2, 4)
    """
    _, micro_rows = engine.split(engine.fewest, row_tokens)
    rows = max(LEAST_ROWS, micro_rows)
    return min(BATCHES, sum(diet.rows) // rows), rows


def _measure(job: SweepJob, key: str, config_json: str, diet: Diet) -> float:
    store, config = Store.open(job.store), Config.model_validate_json(config_json)
    known = Tokenizer.from_json(job.tokenizer)
    commit = commits.newest_readable(store, segment_run(job.run, key))
    assert commit is not None
    if config.model.trains_part:
        raise ValueError("the gradient of a part says nothing of the whole")
    with tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
        weights = read_full_weights(fetch_files(store, commit, Path(scratch)))
    source = RecordedRows(store, diet, training_objective(config.model, known, config.seed))
    batches, count = small_batches(config.engine, config.model.row_tokens, diet)
    small = (source.batch(n * count, count)[0] for n in range(batches))
    tokens = config.model.tokens_of(known.vocab_size)
    return gradient_noise(config.model, tokens, config.seed, weights, small).tokens
