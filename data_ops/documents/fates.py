"""What becomes of a window's rows, and how many of each?

Every row ends as kept, held_out, dropped or quarantined, with a reason where it is not trained; a kept or held-out one
may be forgotten later. Dropping and forgetting keep a row's place and id, so that the account can find it; its text
goes, and of a forgotten document also its external id, which may name a person.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_ops.kernels.arrays import Ids, ids_to_array

LIVING = ("kept", "held_out")


def living(table: pa.Table) -> npt.NDArray[np.bool_]:
    """Say which rows are kept or held out so far."""
    alive = pc.is_in(table["fate"], pa.array(LIVING))
    found: npt.NDArray[np.bool_] = alive.to_numpy(zero_copy_only=False)
    return found


def drop(table: pa.Table, which: npt.NDArray[np.bool_], reason: str) -> pa.Table:
    """Mark rows as dropped for a reason; their text goes, their place and id stay."""
    values = {"fate": "dropped", "reason": reason, "text": None, "tokens": None}
    return _put(table, which, {**values, **({"external_id": None} if reason == "forgotten" else {})})


def quarantine(table: pa.Table, reasons: pa.Array, samples: pa.Array) -> pa.Table:
    """Quarantine the rows that have a reason, with a sample in the place of their text; arrays as long as the table."""
    which = reasons.is_valid().to_numpy(zero_copy_only=False)
    table = _put(table, which, {"fate": "quarantined", "id": None, "tokens": None, "num_bytes": 0})
    for name, values in (("reason", reasons), ("text", samples)):
        column = pc.if_else(pa.array(which), values, table[name])
        table = table.set_column(table.column_names.index(name), table.schema.field(name), column)
    return table


def drop_living(table: pa.Table, reasons: pa.Array) -> pa.Table:
    """Mark those of the living rows as dropped that have a reason; reasons: string[number of living rows], or null."""
    rows = np.flatnonzero(living(table))
    for reason in pc.unique(reasons.drop_null()).to_pylist():
        which = np.zeros(table.num_rows, bool)
        which[rows] = pc.fill_null(pc.equal(reasons, reason), False).to_numpy(zero_copy_only=False)
        table = drop(table, which, reason)
    return table


def hide(table: pa.Table, forgotten: Ids) -> pa.Table:
    """Show rows of forgotten documents (uint64[n, 2]) as they will be once the lake is rewritten.

    The table has id and fate; of the other columns those that it has are changed. What was kept or held out becomes
    forgotten, with its former fate as the reason; rows that were dropped stay dropped, without their external id.
    """
    from data_ops.kernels.id_sets import is_member  # numba, 0.5 s: most who read a lake find nothing forgotten in it

    named = table["id"].is_valid().to_numpy()
    gone = np.zeros(table.num_rows, bool)
    gone[named] = is_member(ids_to_array(table["id"].filter(pa.array(named))), forgotten)
    lived = gone & living(table)
    if "reason" in table.column_names:
        column = pc.if_else(pa.array(lived), table["fate"], table["reason"])
        table = table.set_column(table.column_names.index("reason"), table.schema.field("reason"), column)
    table = _put(table, gone, {"text": None, "tokens": None, "external_id": None, "num_tokens": 0})
    return _put(table, lived, {"fate": "forgotten"})


def _put(table: pa.Table, which: npt.NDArray[np.bool_], values: Mapping[str, object]) -> pa.Table:
    """Set columns, as far as the table has them, to a value in some rows."""
    mask = pa.array(which)
    for name in [name for name in values if name in table.column_names] if which.any() else ():
        column = pc.if_else(mask, pa.scalar(values[name], table[name].type), table[name])
        table = table.set_column(table.column_names.index(name), table.schema.field(name), column)
    return table


def count(documents: pa.Table) -> dict[str, int | dict[str, int]]:
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
