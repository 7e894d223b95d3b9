"""How good is a model on text that nobody trains on, slice by slice?

Held-out documents are grouped into slices "source/period" by event time. `score` gives nats for every document; bits
per byte follow, which compare across tokenizers. Per-document figures are kept, because the promotion gate compares
two models document by document. A slice is capped (by the hash in its ids, so always the same documents), which
bounds the cost; the same function serves workers in training and the evaluation of another checkpoint.

What is chosen by some documents looks better on them than it is. So a share of them may steer (`evaluate.steer`):
sweeps choose by these, and the gate never judges by one that ever has.
"""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cluster.storage.state import publish_json
from cluster.storage.store import Store
from data_ops.documents.document import is_held_out
from data_ops.documents.periods import PERIODS
from data_ops.kernels.arrays import ids_to_array
from data_ops.lake.lake import Lake
from ray_jobs.config.blocks import EvaluateConfig

if TYPE_CHECKING:
    from data_ops.kernels.arrays import Words
    from data_ops.rounds.masking import RowObjective
    from data_ops.rounds.packing import Packing
COLUMNS = ["id", "source", "event_time", "num_bytes", "tokens"]
STEER_SEED = 0x57EE2  # so that what steers says nothing of what is held out
STEERED = "registry/steered"  # a file for each share that ever steered, in parts of a million


@dataclass(frozen=True)
class HeldOut:
    """Held-out documents (id, slice, num_bytes; ordered by id) and their rows.

    keys: what decides the masks of each document, where the objective hides tokens; `num_bytes` then is the share of a
    document's bytes that its hidden tokens have of its tokens.
    """

    table: pa.Table
    packing: "Packing"
    tokens: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    row_tokens: int
    objective: "RowObjective"
    keys: "Words | None" = None


def held_out(
    lake: Lake,
    last_window: int,
    config: EvaluateConfig,
    row_tokens: int,
    objective: "RowObjective",
    only: pa.Array | None = None,
) -> HeldOut:
    """Collect the held-out documents of all windows up to one; the same for every rank.

    only: ids of the documents that are wanted, instead of as many of each slice as are scored in training.
    """
    from ray_jobs.evaluation.held_out_rows import lay_out  # numba, 0.5 s: not needed to read the settings

    table = lake.documents(0, last_window, COLUMNS, ["held_out"]).sort_by([("id", "ascending")])
    periods = pc.strftime(table["event_time"], format=PERIODS[config.period])
    slices = pc.binary_join_element_wise(table["source"], periods, "/")
    table = table.append_column("slice", slices)
    keep = _first_of_each(slices, config.documents_per_slice) if only is None else pc.is_in(table["id"], only)
    table = table.filter(keep).combine_chunks()
    laid = lay_out(table, row_tokens, objective)
    return HeldOut(laid.table, laid.packing, laid.tokens, laid.offsets, row_tokens, objective, laid.keys)


def steering(lake: Lake, last_window: int, config: EvaluateConfig) -> pa.Array | None:
    """Return the ids of the documents that choices are made by, capped by slice; None where all of them may be."""
    if not config.steer:
        return None
    table = lake.documents(0, last_window, ["id", "source", "event_time"], ["held_out"]).sort_by([("id", "ascending")])
    table = table.filter(steers(table["id"], config.steer))
    periods = pc.strftime(table["event_time"], format=PERIODS[config.period])
    slices = pc.binary_join_element_wise(table["source"], periods, "/")
    return table["id"].filter(_first_of_each(slices, config.documents_per_slice)).combine_chunks()


def steers(ids: pa.ChunkedArray, share: float) -> pa.Array:
    """Say which documents steer: a function of the id alone; a larger share has those of a smaller one too."""
    return pa.array(is_held_out(ids_to_array(ids), STEER_SEED, share))


def note_steered(store: Store, share: float) -> None:
    """Write down, before anything is chosen by them, that these documents steer."""
    if share:
        publish_json(store, f"{STEERED}/{round(share * 1e6)}.json", {"share": share})


def steered(store: Store) -> float:
    """The largest share that ever steered; 0 if nothing was ever chosen by a share of its own."""
    parts = [PurePosixPath(path).stem for path in store.list(STEERED)]
    return max((int(part) / 1e6 for part in parts if part.isdecimal()), default=0.0)


def _first_of_each(slices: pa.ChunkedArray, most: int) -> pa.Array:
    """Mark the first so many documents of each slice."""
    names = np.asarray(slices.to_pylist(), dtype=object)
    keep = np.zeros(len(names), bool)
    for name in set(names.tolist()):
        keep[np.flatnonzero(names == name)[:most]] = True
    return pa.array(keep)
