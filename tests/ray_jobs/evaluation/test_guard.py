"""Does a task that may lose so much keep the level, also where few answers differ; is one that may not just shown?"""

import numpy as np
import pyarrow as pa
import pytest

from ray_jobs.evaluation.bounds import PairedItems, highest, items_needed, level_of
from ray_jobs.evaluation.decision import Decision
from ray_jobs.evaluation.guard import ALONE, Guard, guarded
from ray_jobs.evaluation.tasks.task import SCORES, Scores

LEVEL = level_of(1, 0.05)
PROMOTED = Decision("promoted", ["fresh text got better"], level=LEVEL)


def answers(right: np.ndarray, span: float = 1.0) -> Scores:
    ids = [n.to_bytes(16, "big") for n in range(len(right))]
    columns = [ids, ["exam"] * len(ids), right.astype(float), np.ones(len(ids))]
    table = pa.table([pa.array(c, f.type) for c, f in zip(columns, SCORES, strict=True)], schema=SCORES)
    return Scores(table, "higher", "acc", span)


def judged(before: np.ndarray, after: np.ndarray, margin: float | None) -> Decision:
    return guarded(PROMOTED, "exam", Guard(answers(after), answers(before), margin))


def test_with_few_questions_no_answer_that_changed_is_no_proof_and_the_reason_says_how_many_would_be():
    same = np.arange(60) % 2
    decision = judged(same, same, 0.02)
    assert not decision.promoted
    assert "exam may have lost more than 0.02 acc: 0.0000 acc [−0.0820, 0.0000] over 60 items" in decision.reasons[0]
    assert decision.reasons[0].endswith("if that is the truth, about 255 more items would show it")


@pytest.mark.parametrize(("questions", "passes"), [(243, False), (244, True), (2000, True)])
def test_from_so_many_questions_on_the_same_answers_pass(questions: int, passes: bool):
    same = np.arange(questions) % 2
    assert judged(same, same, 0.02).promoted is passes


def test_a_candidate_that_loses_what_it_may_lose_passes_no_more_often_than_the_level_says():
    rng = np.random.default_rng(5)
    for questions, lost, won in ((50, 0.01, 0.0), (200, 0.03, 0.0), (1000, 0.03, 0.0), (1000, 0.11, 0.1)):
        passed, tried = 0, 1500
        for _ in range(tried):
            drawn = rng.random(questions)
            change = (drawn < lost).astype(float) - ((drawn >= lost) & (drawn < lost + won))
            sample = PairedItems(np.ones(questions), np.zeros(questions), change, np.arange(questions), "acc", 1.0)
            passed += highest(sample, LEVEL, ALONE) <= lost - won
        assert passed / tried <= LEVEL + 3 * np.sqrt(LEVEL / tried), (questions, lost, won)


def test_what_is_lost_refuses_and_what_is_not_asked_is_shown():
    before, after = np.ones(400), (np.arange(400) % 8 > 0).astype(float)
    refused = judged(before, after, 0.05)
    assert not refused.promoted and refused.reasons[0].startswith("exam lost more than 0.05 acc: −0.1250")
    shown = judged(before, after, None)
    assert shown.promoted and shown.reasons == PROMOTED.reasons
    (row, _) = shown.tasks["exam"]
    assert (row.role, row.before, row.after, row.verdict) == ("shown", 1.0, 0.875, "worse")


def test_a_broken_figure_of_a_task_that_is_only_shown_is_a_note():
    broken = answers(np.array([1.0, np.nan]))
    decision = guarded(PROMOTED, "exam", Guard(broken, answers(np.ones(2)), None))
    assert decision.promoted and "not finite" in decision.reasons[-1]


def test_how_many_more_items_are_needed_reckons_with_the_same_bound():
    sample = PairedItems(np.ones(60), np.zeros(60), np.zeros(60), np.arange(60), "acc", 1.0)
    more = items_needed(sample, 0.02, LEVEL, ALONE)
    assert more == 255, "184 more would do for these answers, and some more lest chance forbid it"
    lost = PairedItems(np.ones(60), np.zeros(60), np.ones(60) * 0.5, np.arange(60), "acc", 1.0)
    assert items_needed(lost, 0.02, LEVEL, ALONE) is None
