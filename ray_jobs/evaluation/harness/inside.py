"""What does lm-evaluation-harness ask of a model, and what does it make of the answers?

It runs in a process that the guard of `program.py` watches, and nowhere else. A task comes in a line of JSON, and every
request for answers goes out in one and is answered in one; the last line holds the figures. Templates of the task
are rendered in a sandbox.
"""

import json
import re
import string
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, TextIO

import numpy as np
from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from lm_eval import evaluator, utils
from lm_eval.api.model import LM
from lm_eval.api.registry import register_metric
from lm_eval.tasks import TaskManager
from rouge_score.rouge_scorer import RougeScorer

SEED = 1234  # of the harness, for the examples that are shown
RESAMPLES = 100

Ask = Callable[[str, list[list[Any]]], list[Any]]


def answer_tasks(out: TextIO, tried: list[str]) -> None:
    """Read tasks until there are no more; run each, and answer with its figures or a refusal.

    tried: what the guard refused meanwhile, also where the library that tried it went on.
    """

    def tell(message: dict[str, Any]) -> None:
        out.write(json.dumps(message, default=_plain) + "\n")
        out.flush()

    def ask(kind: str, requests: list[list[Any]]) -> list[Any]:
        tell({"ask": kind, "requests": requests})
        answers: list[Any] = json.loads(sys.stdin.readline())
        return answers

    _prepare()
    while line := sys.stdin.readline():
        tried.clear()
        try:
            found = _run(json.loads(line), ask)
        except Exception as error:  # noqa: BLE001 - whatever a task does is an answer
            found = {"refusal": f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"}
        tell({"refusal": f"it may not reach out, and tried {tried[0]}"} if tried else found)


def _plain(value: Any) -> Any:
    """Turn numbers and arrays of numpy into those of JSON, and what else a data set may hold into text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


class _Elsewhere(LM):
    """A model in the process that started this one."""

    def __init__(self, ask: Ask) -> None:
        super().__init__()
        self._ask = ask

    def loglikelihood(self, requests: list[Any]) -> list[Any]:
        """Ask how likely continuations are."""
        return [tuple(answer) for answer in self._ask("loglikelihood", [list(r.args) for r in requests])]

    def loglikelihood_rolling(self, requests: list[Any]) -> list[Any]:
        """Ask how likely texts are."""
        return self._ask("loglikelihood_rolling", [list(r.args) for r in requests])

    def generate_until(self, requests: list[Any]) -> list[Any]:
        """Ask what follows."""
        return self._ask("generate_until", [list(r.args) for r in requests])


def _prepare() -> None:
    """Import the harness, render templates in a sandbox, and make our metrics known."""
    sandbox = ImmutableSandboxedEnvironment(loader=utils.env.loader, undefined=StrictUndefined)
    sandbox.filters["regex_replace"] = utils.env.filters["regex_replace"]
    utils.env = sandbox
    _register()


def _run(asked: dict[str, Any], ask: Ask) -> dict[str, Any]:
    """Build the task's questions, ask them, and score the answers."""
    loaded = TaskManager(include_defaults=False).load([asked["definition"]])
    (task,) = loaded["tasks"].values()
    if asked["shots"] is not None:
        task.set_config(key="num_fewshot", value=asked["shots"])
    elif task.get_config("num_fewshot") is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=SEED)
    task.process_results = partial(_scored, task, task.process_results)
    found = evaluator.evaluate(
        _Elsewhere(ask),
        loaded,
        limit=asked["limit"],
        bootstrap_iters=0,
        log_samples=True,
        confirm_run_unsafe_code=False,
    )
    (samples,) = found["samples"].values()
    return {"items": _items(samples), "whole": _whole(task, samples)}


def _items(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each question with its figures, by metric."""
    found: dict[int, dict[str, Any]] = {}
    for sample in samples:
        item = found.setdefault(sample["doc_id"], {"key": sample["doc"], "values": {}})
        for metric in sample["metrics"]:
            item["values"][_named(metric, sample["filter"])] = sample[metric]
    return list(found.values())


def _named(metric: str, answers_filter: str) -> str:
    """Return the name of a metric; of several ways to read an answer, each has figures of its own."""
    return metric if answers_filter == "none" else f"{metric},{answers_filter}"


def _whole(task: Any, samples: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return each metric over all questions as the harness has it, and its standard error by resampling."""
    found: dict[str, dict[str, Any]] = {}
    values: dict[tuple[str, str], list[Any]] = {}
    for sample in samples:
        for metric in sample["metrics"]:
            values.setdefault((metric, sample["filter"]), []).append(sample[metric])
    for (metric, answers_filter), each in values.items():
        aggregate: Callable[[list[Any]], float] = task.aggregation()[metric]
        better = bool(task.higher_is_better()[metric])
        entry = {"value": aggregate(each), "higher_is_better": better, "error": None}
        if not all(isinstance(value, int | float) for value in each):
            drawn = np.random.default_rng(SEED)
            picks = (drawn.integers(0, len(each), len(each)) for _ in range(RESAMPLES))
            entry["error"] = float(np.std([aggregate([each[i] for i in pick]) for pick in picks], ddof=1))
        found[_named(metric, answers_filter)] = entry
    return found


def _register() -> None:
    """Make known to the harness what its own YAML cannot ask without code: SQuAD's and ROUGE's."""
    for name in OURS:
        register_metric(metric=name, higher_is_better=True, output_type="generate_until", aggregation="mean")(_nothing)


def _nothing(**_: Any) -> float:
    """Stand where `process_results` puts the figure."""
    return 0.0


def _scored(task: Any, theirs: Callable[[Any, Any], dict[str, Any]], doc: Any, results: Any) -> dict[str, Any]:
    """Score an answer as the harness does; ours against the right answer that is nearest, as SQuAD does."""
    found = theirs(doc, results)
    ours = [metric for metric in found if metric in OURS]
    if ours:
        right = task.doc_to_target(doc)
        answers = right if isinstance(right, list) else [right]
        for metric in ours:
            found[metric] = max(OURS[metric](str(answer), str(results[0])) for answer in answers)
    return found


def squad_words(text: str) -> list[str]:
    """Return the words of an answer as SQuAD v1.1 compares them (Rajpurkar et al. 2016, their evaluation script)."""
    letters = "".join(character for character in text.lower() if character not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", letters).split()


def squad_em(right: str, answer: str) -> float:
    """Say whether the words are the same."""
    return float(squad_words(right) == squad_words(answer))


def squad_f1(right: str, answer: str) -> float:
    """Return the harmonic mean of the shares of common words."""
    a, b = squad_words(right), squad_words(answer)
    common = (Counter(a) & Counter(b)).total()
    if not a or not b:
        return float(a == b)
    return 2 * common / (len(a) + len(b))


def _rouge(kind: str, right: str, answer: str) -> float:
    """Return ROUGE's F-measure as rouge-score has it, with its stemmer."""
    return float(RougeScorer([kind], use_stemmer=True).score(right, answer)[kind].fmeasure)


OURS: dict[str, Callable[[str, str], float]] = {
    "squad_em": squad_em,
    "squad_f1": squad_f1,
    **{kind: partial(_rouge, kind) for kind in ("rouge1", "rouge2", "rougeL")},
}
