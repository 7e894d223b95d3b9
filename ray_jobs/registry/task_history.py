"""What did champions, one after the other, show at tasks? Read from what was written down when they were asked."""

from cluster.storage.store import Store
from ray_jobs.evaluation.harness.result import Showing, results_of
from ray_jobs.registry.champions import champions


def task_history(store: Store, candidate: str | None = None) -> list[Showing]:
    """Return the champions that were asked tasks, oldest first, then a candidate that did not become one."""
    since = {one.name: one.entry.decided for one in champions(store)}
    names = [*since, *([candidate] if candidate is not None and candidate not in since else [])]
    found = [Showing(name, since.get(name), results_of(store, name)) for name in names]
    return [one for one in found if one.results]
