"""Which held-out documents is a candidate judged by, and which of them are fresh?

Fresh is what arrived behind the last document the champion was given: it gathers document by document while the
champion serves, so that asking again becomes more certain. Old text is capped slice by slice; ids are hashes, so a
smaller cap keeps a part of the same documents.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_ops.documents.frontier import Frontier
from data_ops.documents.periods import PERIODS
from data_ops.documents.place import Place
from data_ops.lake.lake import Lake
from data_ops.rounds.manifest import Manifest
from ray_jobs.checkpoints.manifest import Commit
from ray_jobs.config.blocks import EvaluateConfig, GateConfig
from ray_jobs.evaluation.held_out import steers

COLUMNS = ["id", "source", "event_time", "window", "position"]
DAYS_OF_WINDOWS = 7  # windows from which the rate of arrivals is told


NOTHING = Frontier(Place(-1, 0))


def given_until(lake: Lake, commit: Commit | None) -> Frontier:
    """Return up to where a checkpoint was given the documents of each source; before all of them where there is none.

    A branch is one round, which ends where the main line stood when it was left.
    """
    if commit is None:
        return NOTHING
    is_whole = not commit.step_in_round and "@" not in commit.run
    rows = lake.rounds(commit.run, commit.round - is_whole)
    return Manifest.from_row(rows, 0).ends if rows.num_rows else NOTHING


def judged_text(lake: Lake, last_window: int, given: Frontier, evaluate: EvaluateConfig, gate: GateConfig) -> pa.Table:
    """Choose documents (id, source, slice, day, fresh, window, position; ordered by id) of all windows up to one.

    None that steers by `evaluate.steer`.
    """
    table = lake.documents(0, last_window, COLUMNS, ["held_out"]).sort_by([("id", "ascending")])
    table = table.filter(pc.invert(steers(table["id"], evaluate.steer))) if evaluate.steer else table
    fresh = given.waiting(table["source"], table["window"].to_numpy(), table["position"].to_numpy())
    slices, days = (
        pc.binary_join_element_wise(table["source"], pc.strftime(table["event_time"], format=format), "/")
        for format in (PERIODS[evaluate.period], PERIODS["day"])
    )
    keep = np.zeros(table.num_rows, bool)
    keep[np.flatnonzero(fresh)[: gate.fresh_documents]] = True
    names = np.array(slices.to_pylist(), dtype=object).astype(str)
    sources = np.array(table["source"].to_pylist(), dtype=object).astype(str)
    for source in np.unique(sources[~fresh]).tolist():
        mine = ~fresh & (sources == source)
        cut = np.unique(names[mine]).tolist()
        cap = max(evaluate.documents_per_slice, -(-gate.old_documents // len(cut)))
        for name in cut:
            keep[np.flatnonzero(mine & (names == name))[:cap]] = True
    chosen = {"id": table["id"], "slice": slices, "day": days, "fresh": pa.array(fresh)}
    chosen |= {name: table[name] for name in ("source", "window", "position")}
    return pa.table(chosen).filter(pa.array(keep)).combine_chunks()


def arrivals_a_day(lake: Lake, last_window: int) -> float:
    """Tell how many held-out documents arrive a day, from the last windows; 0 where that is not known."""
    first = max(last_window - DAYS_OF_WINDOWS + 1, 0)
    arrived = lake.arrivals(max(first - 1, 0), last_window)
    if len(arrived) < 2 or first - 1 not in arrived:
        return 0.0
    days = (arrived[last_window] - arrived[first - 1]) / 86400
    return lake.documents(first, last_window, ["id"], ["held_out"]).num_rows / days if days > 0 else 0.0
