"""Which members does a population have in a generation? What was decided first is what is trained and shown.

A generation is written down once, before any of it is trained: who failed may succeed after the next start, and the
same rule would then choose others, under names that have been trained with other settings.
"""

import json
from dataclasses import asdict

from cluster.storage import Store
from ray_jobs import commit as commits
from tune.policy import Member


def keep_generation(store: Store, run: str, decided: list[Member]) -> list[Member]:
    """Write a generation of sweep `run` down unless it stands there already; what stands there."""
    path = _path(run, decided[0].generation)
    store.publish(path, json.dumps([asdict(member) for member in decided], indent=1).encode())
    return [Member(**member) for member in json.loads(store.read(path))]


def is_decided(store: Store, run: str, generation: int) -> bool:
    """Do the members of that generation stand? Then nothing of the one before is trained any more."""
    return store.exists(_path(run, generation))


def _path(run: str, generation: int) -> str:
    return commits.run_path(run, "generations", f"{generation:02d}.json")
