"""Does a task run beside us as the harness has it: right answers all right, hashes at chance, and nothing reached?"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ray_jobs.evaluation.harness.asking import OFFLINE, Harness, HarnessError, Run
from ray_jobs.evaluation.harness.bundle import Bundle, bundled_names, read_bundle
from ray_jobs.evaluation.harness.result import figures_of
from tests.ray_jobs.evaluation.harness.answerers import Hashed, Knowing
from tests.ray_jobs.evaluation.harness.test_bundle import exam
from tests.ray_jobs.evaluation.harness.test_definition import PLAIN
from tests.support.imports.late import late

late("lm_eval")
pytestmark = pytest.mark.slow  # a process imports the harness: 7 s of a processor

CHANCE = {"small_choice": {"acc": 0.25, "acc_norm": 0.25}, "small_pairs": {"acc": 0.5, "mcc": 0.0}}
QUESTION = '{"question": "1 + 1 =", "choices": ["2", "3"], "gold": 0}\n'


@pytest.fixture(scope="module")
def harness() -> Iterator[Harness]:
    with Harness() as opened:
        yield opened


def ask(harness: Harness, bundle: Bundle, limit: int | None = None) -> Run:
    return harness.run(bundle, "exam", None, limit, Hashed())


@pytest.mark.parametrize("name", bundled_names())
def test_a_model_that_knows_the_answers_has_all_right(harness: Harness, name: str):
    figures = figures_of(harness.run(read_bundle(name), name, None, None, Knowing(name)))
    best = {"bleu": 100.0, "chrf": 100.0}
    assert {metric: figure.value for metric, figure in figures.items()} == {
        metric: pytest.approx(best.get(metric, 1.0)) for metric in figures
    }
    assert all(figure.questions >= 40 and figure.better == "higher" for figure in figures.values())
    assert all(figure.low is not None and figure.low < 1 for name, figure in figures.items() if name == "acc")


@pytest.mark.parametrize("name", bundled_names())
def test_a_model_whose_answers_are_hashes_is_at_chance_within_its_interval(harness: Harness, name: str):
    figures = figures_of(harness.run(read_bundle(name), name, None, None, Hashed()))
    for metric, chance in CHANCE.get(name, {}).items():
        low, high = figures[metric].low, figures[metric].high
        assert low is not None and high is not None and low <= chance <= high, metric
    if name not in CHANCE:
        assert all(
            figure.value < (5 if metric in ("bleu", "chrf") else 0.05)
            for metric, figure in figures.items()
            if metric != "chrf"
        )


def test_so_many_questions_are_asked_and_examples_shown_as_is_said(harness: Harness, tmp_path: Path):
    prompts: list[str] = []

    class Listening(Hashed):
        def loglikelihood(self, pairs):
            prompts.extend(context for context, _ in pairs)
            return super().loglikelihood(pairs)

    bundle = read_bundle("small_choice")
    found = harness.run(bundle, "exam", 2, 5, Listening())
    assert len(found.items) == 5 and {prompt.count("Question:") for prompt in prompts} == {3}


@pytest.mark.parametrize(
    "template",
    ["{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ cycler.__init__.__globals__.os.system('id') }}"],
)
def test_a_template_gets_no_further_than_its_question(harness: Harness, tmp_path: Path, template: str):
    bundle = read_bundle(exam(tmp_path, PLAIN + f'doc_to_text: "{template}"\n', QUESTION))
    with pytest.raises(
        HarnessError, match=r"the task exam cannot be asked: (SecurityError|UndefinedError).*mend its file"
    ):
        ask(harness, bundle)
    assert len(ask(harness, read_bundle("small_choice"), 3).items) == 3, "the next task is asked as ever"


def outside(folder: Path) -> Bundle:
    """A task that no reading of files lets pass: its data are of the hub."""
    bundle = read_bundle(exam(folder, PLAIN, QUESTION))
    return Bundle(bundle.definition | {"dataset_path": "nyu-mll/glue", "dataset_name": "mrpc"}, bundle.files)


def test_a_task_that_would_go_out_is_stopped_by_the_guard_where_nothing_else_stops_it(tmp_path: Path):
    with (
        Harness(offline={}) as unprotected,
        pytest.raises(HarnessError, match=r"it may not reach out, and tried socket."),
    ):
        ask(unprotected, outside(tmp_path))


def test_offline_it_does_not_even_try(harness: Harness, tmp_path: Path):
    assert OFFLINE["HF_DATASETS_OFFLINE"] == "1"
    with pytest.raises(HarnessError) as refused:
        ask(harness, outside(tmp_path))
    assert "reach out" not in str(refused.value)


def test_a_process_that_ends_is_told_with_its_last_words():
    with (
        Harness({"PYTHONUTF8": "neither 0 nor 1"}) as broken,
        pytest.raises(HarnessError, match=r"ended without figures \(.+\); mend its file"),
    ):
        ask(broken, read_bundle("small_choice"))
