"""Does `headrace registry show` tell what a champion showed at tasks?"""

from ray_jobs.cards.listing import task_words
from tests.ray_jobs.report.test_task_section import ROW


def test_a_task_is_told_with_both_figures_and_the_bounds_in_its_own_unit() -> None:
    said = task_words("exam", ROW)
    assert said == "exam: 0.5000 to 0.5300, +0.0300 [−0.0100, +0.0700] acc, 400 questions"
