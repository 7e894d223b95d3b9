"""Which runs were started for what waited? A numbered file each, created once, and one for its end.

The reservation comes before the start: whoever finds one without an end carries it on instead of making another. So a
kill between any two of these steps neither forgets a start nor makes two of it.
"""

import time

import msgspec

from cluster.storage.clock import written_s_ago
from cluster.storage.state import publish_json, read_json
from cluster.storage.store import Store
from ray_jobs.store.paths import run_path
from ray_jobs.trigger.decision import End, Past, StartedRun


class Began(msgspec.Struct, frozen=True):
    """When somebody first waited for text of a run, unix: what a deadline is counted from before the first start."""

    at_s: float


def read_past(store: Store, run: str, now_s: float | None = None) -> Past:
    """Read what was started last; notes, the first time, when waiting began. DamagedError where a file is damaged."""
    since = _path(run, "since")
    if not store.exists(since):
        publish_json(store, since, Began(time.time() if now_s is None else now_s))
    began_s = read_json(store, since, Began).at_s
    names = sorted(path.rpartition("/")[2].removesuffix(".json") for path in store.list(run_path(run, "starts")))
    starts, ends = [name for name in names if name.isdecimal()], [name for name in names if name.endswith("-end")]
    start = read_json(store, _path(run, starts[-1]), StartedRun) if starts else None
    return Past(began_s, start, read_json(store, _path(run, ends[-1]), End) if ends else None)


def reserve_start(store: Store, run: str, start: StartedRun) -> bool:
    """Write a start down before it is made; False if its number is taken."""
    return publish_json(store, _path(run, f"{start.number:06d}"), start)


def reserved_s_ago(store: Store, run: str, start: StartedRun) -> float | None:
    """How many seconds ago was a start written down, by the clock of the store?"""
    return written_s_ago(store, _path(run, f"{start.number:06d}"))


def close(store: Store, run: str, end: End) -> bool:
    """Write down how a start ended; False if somebody did already."""
    return publish_json(store, _path(run, f"{end.number:06d}-end"), end)


def _path(run: str, name: str) -> str:
    return run_path(run, "starts", f"{name}.json")
