"""How do the rows of `rounds` and `ledger` tell that they were changed?

The JSON column of a row (plan, state) is sealed together with all its other columns. Rows of an older version carry no
digest and are taken as they are.
"""

from datetime import datetime
from typing import Any, TypedDict

import pyarrow as pa

from cluster.storage.seal import DamagedError, seal, unseal
from data_ops.documents.place import PlaceRow
from data_ops.lake.digest import column_digest
from data_ops.lake.schemas import LEDGER_SCHEMA, ROUND_SCHEMA

LISTS = ("fresh", "replay", "shed")
MEND = "restore the table's files from a copy"


class RoundRow(TypedDict):
    """A round's manifest, as `rounds` keeps it beside run and number; plan: JSON."""

    plan: str
    fresh: list[PlaceRow]
    replay: list[PlaceRow]
    shed: list[PlaceRow]


class LedgerEntry(TypedDict):
    """Where a checkpoint stands: step_in_round steps of the round are in it; state: JSON."""

    step: int
    round: int
    step_in_round: int
    checkpoint: str
    state: str


class LedgerRow(LedgerEntry):
    """A note in `ledger`: the sequence counts within the run."""

    run: str
    sequence: int
    committed: datetime


def sealed_round(run: str, number: int, row: RoundRow) -> pa.Table:
    """The row of a round's manifest, as `rounds` keeps it."""
    rows = pa.Table.from_pylist([{"run": run, "round": number, **row}], schema=ROUND_SCHEMA)
    plan = seal(row["plan"], run, number, *_digests(rows, 0))
    return rows.set_column(rows.column_names.index("plan"), ROUND_SCHEMA.field("plan"), [[plan]])


def unsealed_rounds(rows: pa.Table, where: str) -> pa.Table:
    """Rows of `rounds` with their plans as they were; DamagedError where one is not what was written."""
    plans, columns = [], [_values(rows, name, where) for name in ("run", "round", "plan")]
    for index, (run, number, plan) in enumerate(zip(*columns, strict=True)):
        what = f"round {number} of run {run} in {where}"
        try:
            plans.append(unseal(plan, what, run, number, *_digests(rows, index)))
        except DamagedError as error:
            raise DamagedError(f"{error}; {MEND}") from None
    return rows.set_column(rows.column_names.index("plan"), ROUND_SCHEMA.field("plan"), pa.array(plans, pa.string()))


def sealed_note(row: LedgerRow) -> pa.Table:
    """The row of a checkpoint's note, as `ledger` keeps it."""
    rows = pa.Table.from_pylist([row], schema=LEDGER_SCHEMA)
    state = seal(row["state"], *_context(rows, 0))
    return rows.set_column(rows.column_names.index("state"), LEDGER_SCHEMA.field("state"), [[state]])


def unsealed_notes(rows: pa.Table, where: str) -> pa.Table:
    """Rows of `ledger` with their states as they were; DamagedError where one is not what was written."""
    states = []
    for index, state in enumerate(_values(rows, "state", where)):
        context = _context(rows, index)
        what = f"note {context[1]} of run {context[0]} in {where}"
        try:
            states.append(unseal(state, what, *context))
        except DamagedError as error:
            raise DamagedError(f"{error}; {MEND}") from None
    return rows.set_column(
        rows.column_names.index("state"), LEDGER_SCHEMA.field("state"), pa.array(states, pa.string())
    )


def _values(rows: pa.Table, name: str, where: str) -> list[Any]:
    try:
        return list(rows[name].to_pylist())
    except (ValueError, OverflowError) as error:
        raise DamagedError(f"{name} in {where} is damaged: {error}; {MEND}") from error


def _context(rows: pa.Table, index: int) -> list[object]:
    """Every column but the sealed one; a time as a number."""
    cells = {name: rows[name][index] for name in LEDGER_SCHEMA.names if name != "state"}
    return [cell.value if name == "committed" else cell.as_py() for name, cell in cells.items()]


def _digests(rows: pa.Table, index: int) -> list[str]:
    """A digest of each column of each list of documents of a row."""
    found = []
    for name in LISTS:
        cell = rows[name][index].values
        documents = pa.Table.from_struct_array(cell) if cell is not None and len(cell) else None
        found += [name, *(column_digest(column) for column in documents.columns)] if documents else [name]
    return found
