"""What did a checkpoint show at a task, and how sure is it? Written down once, beside its held-out figures.

A mean over questions has an interval of its own questions: Wilson's for right and wrong, Student's t for other figures.
A metric of all questions together (BLEU, F1 of classes) has one of 100 resamples. The harness's own figure is kept.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from cluster.storage.state import publish_json, read_json
from cluster.storage.store import Store
from ray_jobs.evaluation.bounds import Array, upper
from ray_jobs.evaluation.harness.asking import Run, Whole
from ray_jobs.store.paths import run_path

Better = Literal["lower", "higher"]

TAIL = 0.025  # each side of an interval of 95 %
MEND = "delete it, and the task is asked anew"


class Figure(msgspec.Struct, frozen=True):
    """A metric with its interval of 95 %; None where questions do not give one."""

    value: float
    low: float | None
    high: float | None
    better: Better
    questions: int


class Item(msgspec.Struct, frozen=True):
    """A question: what decides its id, its judged figure as total over size (bits over bytes; else over 1)."""

    id: str
    total: float
    size: float


class TaskResult(msgspec.Struct, frozen=True, kw_only=True):
    """One task asked of one checkpoint."""

    task: str
    checkpoint: str
    digest: str  # of the task's definition and data
    harness: str  # version of lm-eval
    settings: dict[str, int | bool | str | None]  # what else decides the figures
    judged: str  # the metric that the gate compares
    figures: dict[str, Figure]
    items: list[Item]
    cut: int  # requests that lost something on the left, because the model's rows are short
    kind: Literal["lm_eval"] = "lm_eval"


class Showing(NamedTuple):
    """A checkpoint with its results; since_s: unix, in service from then on; None: it never was."""

    checkpoint: str
    since_s: float | None
    results: Sequence[TaskResult]


def unit_of(metric: str) -> str:
    """Return in which unit a metric is told."""
    return "bits/byte" if metric == "bits_per_byte" else metric


def figures_of(run: Run) -> dict[str, Figure]:
    """Return each metric with its interval."""
    found = {}
    for metric, whole in run.whole.items():
        values = [item.values[metric] for item in run.items if metric in item.values]
        better: Better = "higher" if whole.higher_is_better else "lower"
        low, high = _interval(metric, whole, values)
        found[metric] = Figure(whole.value, low, high, better, len(values))
    return found


def judged_items(run: Run, metric: str) -> list[Item]:
    """Return the questions with a judged metric; one that stands twice in the data is told apart by its place."""
    found, seen = [], dict[str, int]()
    for item in run.items:
        text = json.dumps(item.key, sort_keys=True, default=str)
        seen[text] = seen.get(text, 0) + 1
        key = hashlib.sha256(f"{seen[text]}\0{text}".encode()).hexdigest()[:32]
        found.append(Item(key, *_cost(metric, item.values[metric])))
    return found


def kept_result(store: Store, checkpoint: str, task: str, key: str) -> TaskResult | None:
    """Read what was asked before; None where it was not. DamagedError for a file that was changed."""
    try:
        return read_json(store, task_result_path(checkpoint, task, key), TaskResult, MEND)
    except FileNotFoundError:
        return None


def keep_result(store: Store, result: TaskResult, key: str) -> None:
    """Write a result down, once: asked again, it would be the same."""
    publish_json(store, task_result_path(result.checkpoint, result.task, key), result)


def task_result_path(checkpoint: str, task: str, key: str) -> str:
    """Where a result is kept."""
    run, _, step = checkpoint.rpartition("/")
    return run_path(run, "evaluations", f"{step}-{task}-{key}.json")


def results_of(store: Store, checkpoint: str) -> list[TaskResult]:
    """Return all results of a checkpoint that are kept, by task."""
    run, _, step = checkpoint.rpartition("/")
    names = [p for p in store.list(run_path(run, "evaluations")) if p.endswith(".json")]
    mine = [p for p in names if p.rpartition("/")[2].startswith(f"{step}-")]
    return sorted((read_json(store, path, TaskResult, MEND) for path in mine), key=lambda one: one.task)


def _cost(metric: str, value: object) -> tuple[float, float]:
    if metric == "bits_per_byte" and isinstance(value, Sequence):
        logprob, num_bytes = value
        return -float(logprob) / math.log(2), float(max(num_bytes, 1))
    return float(str(value)), 1.0


def _interval(metric: str, whole: Whole, values: Sequence[object]) -> tuple[float | None, float | None]:
    if whole.error is not None and metric != "bits_per_byte":
        reach = -NormalDist().inv_cdf(TAIL) * whole.error
        return (whole.value - reach, whole.value + reach) if math.isfinite(reach) else (None, None)
    if metric != "bits_per_byte" and not math.isclose(whole.value, _mean(values), abs_tol=1e-9):
        return None, None  # perplexity and the like: no mean of these figures
    totals, sizes = (np.array(c) for c in zip(*(_cost(metric, value) for value in values), strict=True))
    if set(np.unique(totals)) <= {0.0, 1.0}:
        return wilson(int(totals.sum()), len(totals))
    return _around(sizes, totals)


def _mean(values: Sequence[object]) -> float:
    return sum(float(str(value)) for value in values) / max(len(values), 1)


def _around(sizes: Array, totals: Array) -> tuple[float | None, float | None]:
    if len(sizes) < 2:
        return None, None
    return -float(upper(sizes, -totals, TAIL, guard=0.0)), float(upper(sizes, totals, TAIL, guard=0.0))


def wilson(hits: int, questions: int) -> tuple[float, float]:
    """Return the interval of a share (Wilson 1927), which also says something where all or none are right.

    >>> [round(bound, 3) for bound in wilson(10, 10)]
    [0.722, 1.0]
    """
    z2 = NormalDist().inv_cdf(TAIL) ** 2
    middle = (hits + z2 / 2) / (questions + z2)
    reach = math.sqrt(z2 * (hits * (questions - hits) / questions + z2 / 4)) / (questions + z2)
    return (max(0.0, middle - reach) if hits else 0.0), (min(1.0, middle + reach) if hits < questions else 1.0)


def result_key(digest: str, settings: Mapping[str, object], harness: str) -> str:
    """Return what a result is kept by: all that decides it, beside the checkpoint."""
    text = json.dumps([digest, dict(settings), harness], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
