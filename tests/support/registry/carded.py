"""A small store with three champions, made once a process."""

import functools
import tempfile
from pathlib import Path

from cluster.storage.store import Store
from ray_jobs.config.schema import Config
from ray_jobs.registry.champion import put_in_service_by_hand
from tests.support.small_store import make_store


@functools.cache
def _made() -> tuple[tempfile.TemporaryDirectory[str], Config]:
    """A small store whose champions were small/6, which the gate promoted, small/3 by hand, and small/6 again."""
    folder = tempfile.TemporaryDirectory(prefix="headrace-cards-")
    config = make_store(Path(folder.name))
    store = Store.open(config.store)
    for step in (3, 6):
        put_in_service_by_hand(store, f"{config.name}/{step:08d}", new_reference=False)
    return folder, config


def carded_store() -> Config:
    """That store, made once a process, for tests that only look."""
    return _made()[1]
