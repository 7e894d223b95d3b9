"""Is what a task showed told in lines?"""

from ray_jobs.commands.promote import task_lines
from ray_jobs.evaluation.harness.result import Figure


def test_every_metric_of_a_task_is_a_line_with_its_interval_and_other_tasks_tell_their_slices() -> None:
    figures = {"exam": {"acc": Figure(0.5, 0.25, 0.75, "higher", 12), "f1": Figure(0.5, None, None, "higher", 12)}}
    tasks = {"exam": {"exam": {"n": 12, "value": 0.5}}, "calm": {"all": {"n": 3, "value": 1.5}}}
    lines = list(task_lines({"checkpoint": "a/1", "slices": {}, "tasks": tasks, "figures": figures}))
    assert lines == [
        "  0.5000 [0.2500, 0.7500] acc  12 questions  exam",
        "  0.5000 f1  12 questions  exam",
        "  1.5000  3 items  all of calm",
    ]
