"""Is what champions showed at tasks told in the order in which they served, the candidate last?"""

from pathlib import Path

from cluster.storage.store import Store
from ray_jobs.evaluation.harness.result import keep_result
from ray_jobs.registry.task_history import task_history
from tests.ray_jobs.evaluation.harness.test_result import KEY, result
from tests.support.registry.champions import commit, promoted


def test_champions_that_were_asked_come_first_and_a_candidate_that_did_not_become_one_last(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    for step in (3, 5, 7):
        promoted(store, commit(store, "news", step), f"step {step} is better")
    for name, value in (("news/00000009", 0.75), ("news/00000007", 0.5), ("news/00000003", 0.25)):
        keep_result(store, result(name, value=value), KEY)
    found = task_history(store, "news/00000009")
    assert [one.checkpoint for one in found] == ["news/00000003", "news/00000007", "news/00000009"]
    assert [one.results[0].figures["acc"].value for one in found] == [0.25, 0.5, 0.75]
    assert [one.since_s is None for one in found] == [False, False, True]
    assert task_history(store, "news/00000007")[-1].checkpoint == "news/00000007" and len(task_history(store)) == 2
