"""Which held-out slices are fresh to a candidate?"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_ops.documents.periods import PERIODS, Period
from data_ops.lake.lake import Lake
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.evaluation.judged_text import given_until


def fresh_slices(lake: Lake, period: Period, champion: commits.Commit | None) -> set[str]:
    """Slices most of whose kept documents the champion had not been given; all of them without a champion."""
    table = lake.documents(0, lake.last_window(), ["source", "event_time", "window", "position"], ["kept"])
    end = given_until(lake, champion)
    new = end.waiting(table["source"], table["window"].to_numpy(), table["position"].to_numpy())
    periods = pc.strftime(table["event_time"], format=PERIODS[period])
    names = pc.binary_join_element_wise(table["source"], periods, "/")
    grouped = pa.table({"slice": names, "new": pa.array(new.astype(np.int64))}).group_by("slice")
    shares = grouped.aggregate([("new", "mean")]).to_pylist()
    return {row["slice"] for row in shares if row["new_mean"] > 0.5}
