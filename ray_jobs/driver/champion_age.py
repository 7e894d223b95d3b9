"""How old are documents when a champion that has seen them comes into service?

Of those that the champion before it was not given: from the document's own time to now, source by source.
"""

from contextlib import suppress

import numpy as np
import pyarrow as pa

from data_ops.lake.lake import Lake
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.manifest import Commit
from ray_jobs.evaluation.judged_text import NOTHING, given_until
from ray_jobs.training.freshness import by_source

COLUMNS = ["window", "position", "source", "event_time"]


def champion_ages(lake: Lake, champion: Commit, before: str | None, now_s: float) -> dict[str, tuple[float, ...]]:
    """Tell the ages in seconds by source; `before`: the name of the champion before, None if there was none."""
    given, known = given_until(lake, champion), NOTHING
    if before is not None:
        with suppress(*commits.DAMAGES):  # it may be gone, and then all that this one was given counts
            known = given_until(lake, commits.by_name(lake.store, before))
    log = lake.documents(max(known.base.window, 0), given.newest.window, COLUMNS, ["kept"])
    at = log["source"], log["window"].to_numpy(), log["position"].to_numpy()
    new = known.waiting(*at) & ~given.waiting(*at)
    times_s = log["event_time"].cast(pa.int64()).to_numpy()[new] * 1e-6
    return by_source(np.array(log["source"].to_pylist(), dtype=object).astype(np.str_)[new], now_s - times_s)
