"""Is a task of the harness a fact of the store, asked once of a checkpoint, and judged by what can be judged?"""

from collections.abc import Mapping
from pathlib import Path

import pytest

from data_ops.documents.tokenizer import Tokenizer
from data_ops.rounds.masking import RowObjective
from models.config import ModelConfig
from models.measures.scoring import AskedModel
from ray_jobs.config.blocks import EvaluateConfig
from ray_jobs.config.schema import Config
from ray_jobs.evaluation.harness.answerer import ModelAnswerer
from ray_jobs.evaluation.harness.asking import AnsweredItem, Harness, Run, Whole
from ray_jobs.evaluation.harness.bundle import Bundle, kept_bundle, read_bundle
from ray_jobs.evaluation.harness.result import results_of
from ray_jobs.evaluation.tasks.lm_eval import LmEval, scores_of_task
from ray_jobs.evaluation.tasks.task import SCORES, Scorer
from ray_jobs.evaluation.tasks.tasks import further_tasks, only_tasks, pinned
from tests.ray_jobs.evaluation.harness.test_bundle import exam
from tests.ray_jobs.evaluation.harness.test_definition import PLAIN
from tests.support.folders import DOCUMENT, JSON, VOCAB
from tests.support.lakes import make_lake

SMALL = ModelConfig(layers=1, width=16, heads=2, row_tokens=64)


class Counting(Harness):
    """A harness whose tasks have four questions, of which the first is right; it counts how often it runs."""

    runs = 0

    def run(self, bundle: Bundle, name: str, shots: int | None, limit: int | None, answerer: ModelAnswerer) -> Run:
        self.runs += 1
        items = [AnsweredItem({"question": n}, {"acc": float(n == 0), "acc_norm": 1.0}) for n in range(4)]
        return Run(items, {"acc": Whole(0.25, True, None), "acc_norm": Whole(1.0, True, None)})


def scorer_of(folder: Path) -> Scorer:
    model, tokenizer = AskedModel(SMALL, VOCAB, 1, None), Tokenizer.from_json(JSON)
    lake, objective = make_lake(folder), RowObjective(DOCUMENT)
    return Scorer(model.evaluate, tokenizer, SMALL.row_tokens, lake, 0, EvaluateConfig(), objective, model)


def evaluate(*entries: Mapping[str, object]) -> EvaluateConfig:
    return Config.model_validate({"evaluate": {"tasks": [{"kind": "lm_eval", **entry} for entry in entries]}}).evaluate


def test_several_tasks_are_of_this_kind_each_under_its_name(tmp_path: Path):
    config = evaluate({"file": "a/exam.yaml"}, {"file": "a/exam.yaml", "name": "five", "shots": 5}, {"file": "b c.yml"})
    assert list(further_tasks(config)) == ["exam", "five", "b_c"]
    with pytest.raises(ValueError, match=r"evaluate.tasks names exam twice; .* give one another name"):
        further_tasks(evaluate({"file": "a/exam.yaml"}, {"file": "b/exam.yaml"}))


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({}, "the task lm_eval has no file; give it: YAML"),
        ({"file": "a", "name": "../a"}, "name='../a' is no name; use letters"),
        ({"file": "a", "shot": 5}, "has no key 'shot'"),
        ({"file": "a", "limit": 0}, "limit=0"),
        ({"file": "a", "may_lose": 0}, "may_lose=0"),
    ],
)
def test_a_mistake_is_one_sentence(entry: dict, said: str):
    with pytest.raises(ValueError, match=said):
        further_tasks(evaluate(entry))


def test_what_an_ask_names_stays_when_the_file_changes_and_a_changed_file_is_another_task(tmp_path: Path):
    store, file = make_lake(tmp_path / "lake").store, exam(tmp_path / "a")
    config = evaluate({"file": file, "may_lose": 0.02})
    first = pinned(config, store)
    assert pinned(first, store) == first and first != config
    exam(tmp_path / "a", data='{"question": "another"}\n')
    second = pinned(config, store)
    (one,), (other,) = further_tasks(first).values(), further_tasks(second).values()
    assert isinstance(one, LmEval) and isinstance(other, LmEval) and one.digest != other.digest
    assert kept_bundle(store, str(one.digest)).files["test-0.jsonl"] == b'{"question": "a"}\n'
    (tmp_path / "a" / "exam.yaml").unlink()
    assert pinned(first, store) == first, "a verdict that was left open needs no file"


def test_tasks_without_files_are_pinned_as_they_stand(tmp_path: Path):
    config = EvaluateConfig(tasks=())
    assert pinned(config, make_lake(tmp_path).store) == config


def test_the_named_tasks_alone_are_asked_also_those_that_no_configuration_names(tmp_path: Path):
    config = evaluate({"file": "a/exam.yaml", "shots": 2})
    assert only_tasks(config, ["exam"]).tasks == config.tasks
    assert only_tasks(config, ["small_pairs"]).tasks == ({"kind": "lm_eval", "file": "small_pairs"},)


def test_a_checkpoint_is_asked_once_and_what_it_showed_is_kept_beside_its_evaluations(tmp_path: Path):
    scorer, task = scorer_of(tmp_path), LmEval(file="small_choice")
    store = scorer.lake.store
    task = task.pinned(store)
    assert task.kept(store, "news/00000003") is None
    with Counting() as harness:
        result = task.result(scorer, "news/00000003", harness)
        assert harness.runs == 1 and task.kept(store, "news/00000003") == result
    assert results_of(store, "news/00000003") == [result] and result.digest == task.digest
    assert (result.judged, result.figures["acc"].value, len(result.items)) == ("acc", 0.25, 4)
    assert task.model_copy(update={"shots": 3}).kept(store, "news/00000003") is None, "asked otherwise it is another"
    scores = scores_of_task(result)
    assert scores.table.schema.equals(SCORES) and (scores.unit, scores.span) == ("acc", 1.0)


def test_the_metric_that_is_judged_is_one_that_has_a_figure_for_each_question(tmp_path: Path):
    bundle = read_bundle("small_translation")
    assert LmEval(file="small_translation").judged_by(bundle) == "rougeL"
    with pytest.raises(ValueError, match="metric=bleu of the task small_translation is no mean over questions"):
        LmEval(file="small_translation", metric="bleu").judged_by(bundle)
    only = read_bundle(exam(tmp_path, PLAIN + "metric_list: [{metric: f1}]\n"))
    with pytest.raises(ValueError, match="has metrics of all questions together only"):
        LmEval(file="exam").judged_by(only)
    assert LmEval(file="a", may_lose=0.02).margin == 0.02 and LmEval(file="a").margin is None
