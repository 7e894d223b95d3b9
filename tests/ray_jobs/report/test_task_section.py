"""Does the report tell what was compared at tasks, and champion after champion, with intervals?"""

from ray_jobs.evaluation.harness.result import Showing
from ray_jobs.report.task_section import task_section
from tests.ray_jobs.evaluation.harness.test_result import result

ROW = {
    "name": "exam",
    "role": "pool",
    "documents": 400,
    "bytes": 400,
    "before": 0.5,
    "after": 0.53,
    "difference": 0.03,
    "low": -0.01,
    "high": 0.07,
    "verdict": "within",
    "limit": 0.02,
    "unit": "acc",
}


def test_nothing_is_said_where_no_task_was_asked() -> None:
    assert task_section(None, []) is None and task_section({"tasks": {}}, []) is None


def test_a_comparison_has_its_bounds_and_what_may_be_lost_or_that_nothing_is_asked() -> None:
    told = str(task_section({"tasks": {"exam": [ROW], "<b>": [{**ROW, "role": "shown"}]}}, []))
    for part in ("400", "0.5", "0.53", "+0.0300 acc", "[−0.0100, +0.0700]", "0.02", "within", "not asked"):
        assert f">{part}<" in told
    assert "&lt;b&gt;" in told and "<b>" not in told


def test_champions_stand_beside_each_other_with_their_intervals() -> None:
    showings = [
        Showing("news/00000003", 1.0, [result("news/00000003")]),
        Showing("news/00000009", None, [result("news/00000009", value=0.75), result("news/00000009", "other")]),
    ]
    told = str(task_section(None, showings))
    assert told.index("news/00000003") < told.index("news/00000009 (candidate)")
    assert "0.5 [0.09453, 0.9055]" in told and told.count("–") >= 1, "the first was not asked the other task"
