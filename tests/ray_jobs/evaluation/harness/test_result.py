"""Are figures written down once, with honest intervals, and found again?"""

from pathlib import Path

import numpy as np
import pytest

from cluster.storage.seal import DamagedError
from cluster.storage.store import Store
from ray_jobs.evaluation.harness.asking import AnsweredItem, Run, Whole
from ray_jobs.evaluation.harness.result import (
    Figure,
    TaskResult,
    figures_of,
    judged_items,
    keep_result,
    kept_result,
    result_key,
    results_of,
    task_result_path,
    wilson,
)
from ray_jobs.evaluation.tasks.lm_eval import scores_of_task

KEY = result_key("0" * 32, {"shots": None}, "0.4.13")


def run_of(metric: str, values: list[object], value: float, error: float | None = None, higher: bool = True) -> Run:
    items = [AnsweredItem({"text": f"question {n // 2}"}, {metric: each}) for n, each in enumerate(values)]
    return Run(items, {metric: Whole(value, higher, error)})


def result(checkpoint: str = "news/00000003", task: str = "exam", value: float = 0.5) -> TaskResult:
    run = run_of("acc", [0.0, 1.0], value)
    return TaskResult(
        task=task,
        checkpoint=checkpoint,
        digest="0" * 32,
        harness="0.4.13",
        settings={"shots": None},
        judged="acc",
        figures=figures_of(run),
        items=judged_items(run, "acc"),
        cut=0,
    )


def test_a_share_has_wilson_s_interval_also_where_all_are_right():
    found = figures_of(run_of("acc", [1.0] * 20, 1.0))["acc"]
    assert found == Figure(1.0, *wilson(20, 20), "higher", 20) and 0.8 < found.low < 0.9 and found.high == 1.0


def test_the_interval_holds_what_is_true_as_often_as_it_says():
    rng, held = np.random.default_rng(3), 0
    for _ in range(400):
        values = rng.beta(2, 5, 50).tolist()
        found = figures_of(run_of("squad_f1", values, float(np.mean(values))))["squad_f1"]
        held += found.low <= 2 / 7 <= found.high
    assert 0.925 <= held / 400 <= 0.975


def test_a_metric_of_all_questions_has_the_interval_of_its_resamples_and_perplexity_none():
    found = figures_of(run_of("bleu", [["a", "b"]] * 3, 30.0, 2.0))["bleu"]
    assert (round(found.low, 2), round(found.high, 2)) == (26.08, 33.92)
    assert figures_of(run_of("perplexity", [-1.0, -2.0], 4.48, None, False))["perplexity"].low is None


def test_bits_per_byte_are_weighed_by_bytes():
    run = run_of("bits_per_byte", [[-np.log(2) * 8, 8], [-np.log(2) * 30, 10]], 38 / 18, 0.1, False)
    items = judged_items(run, "bits_per_byte")
    assert [(round(i.total, 6), i.size) for i in items] == [(8.0, 8.0), (30.0, 10.0)]
    found = figures_of(run)["bits_per_byte"]
    assert found.better == "lower" and found.low < 38 / 18 < found.high


def test_a_question_that_stands_twice_is_two_items_and_the_same_in_every_run():
    items = judged_items(run_of("acc", [1.0, 0.0, 1.0], 2 / 3), "acc")
    assert len({item.id for item in items}) == 3
    assert [i.id for i in items] == [i.id for i in judged_items(run_of("acc", [0.0, 0.0, 0.0], 0.0), "acc")]
    scores = scores_of_task(result())
    assert scores.unit == "acc" and scores.better == "higher" and scores.by_slice()["exam"] == (2, 0.5)


def test_a_result_is_written_once_and_a_changed_one_is_told(tmp_path: Path):
    store = Store.open(str(tmp_path))
    assert kept_result(store, "news/00000003", "exam", KEY) is None
    keep_result(store, result(), KEY)
    keep_result(store, result(value=0.75), KEY)
    assert kept_result(store, "news/00000003", "exam", KEY) == result()
    keep_result(store, result(task="another"), KEY)
    keep_result(store, result("news/00000013"), KEY)
    assert [one.task for one in results_of(store, "news/00000003")] == ["another", "exam"]
    path = task_result_path("news/00000003", "exam", KEY)
    store.write(path, store.read(path).replace(b"0.5", b"0.6", 1))
    with pytest.raises(DamagedError, match="the task is asked anew"):
        kept_result(store, "news/00000003", "exam", KEY)
