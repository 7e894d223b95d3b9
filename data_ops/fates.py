"""What becomes of a window's rows, and how many of each?

Every row ends as kept, held_out, dropped or quarantined, with a reason where it is not trained. Dropping keeps a row's
place and id, so that the account can find it; only its text goes.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_ops.dedup import SeenIds
from data_ops.document import ids_to_array


def living(table: pa.Table) -> npt.NDArray[np.bool_]:
    """Say which rows are kept or held out so far."""
    alive = pc.is_in(table["fate"], pa.array(["kept", "held_out"]))
    found: npt.NDArray[np.bool_] = alive.to_numpy(zero_copy_only=False)
    return found


def drop(table: pa.Table, which: npt.NDArray[np.bool_], reason: str) -> pa.Table:
    """Mark rows as dropped for a reason; their text goes, their place and id stay."""
    if not which.any():
        return table
    mask = pa.array(which)
    for name, value in (("fate", "dropped"), ("reason", reason), ("text", None), ("tokens", None)):
        if name in table.column_names:
            column = table[name]
            table = table.set_column(
                table.column_names.index(name),
                table.schema.field(name),
                pc.if_else(mask, pa.scalar(value, column.type), column),
            )
    return table


def count(documents: pa.Table) -> dict[str, Any]:
    """Count a window's rows by what became of them: read = kept + held_out + quarantined + sum of dropped."""
    groups = documents.group_by(["fate", "reason"]).aggregate([([], "count_all")]).to_pylist()
    fates = dict.fromkeys(("kept", "held_out", "quarantined"), 0)
    reasons: dict[str, dict[str, int]] = {"dropped": {}, "quarantined_by": {}}
    for group in groups:
        if group["fate"] == "dropped":
            reasons["dropped"][group["reason"]] = group["count_all"]
        else:
            fates[group["fate"]] += group["count_all"]
            if group["fate"] == "quarantined":
                reasons["quarantined_by"][group["reason"]] = group["count_all"]
    notes = pc.value_counts(documents["time_note"]).to_pylist()
    times = {n["values"]: n["counts"] for n in notes if n["values"] is not None}
    return {"read": documents.num_rows, **fates, **reasons, "times": times}


def drop_repeats(table: pa.Table) -> pa.Table:
    """Of documents that stand several times in this table, the first one stays."""
    alive = np.flatnonzero(living(table))
    new = SeenIds().add_new(ids_to_array(table["id"].take(pa.array(alive))))
    repeated = np.zeros(table.num_rows, bool)
    repeated[alive[~new]] = True
    return drop(table, repeated, "duplicate")
