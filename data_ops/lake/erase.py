"""How does the text of forgotten documents leave the disk?

The stretches of windows that hold them are rewritten, each in one commit; what no version needs any more is deleted,
and so are the log's older entries, whose statistics may quote a text. Nothing is kept for time travel: a reader that
opened the table before and is still reading may miss a file and must start again, so this runs only while nobody
trains or ingests. Each step may be repeated; a kill between two leaves text on the disk that no reader is shown
(`Lake.documents`). What is about to be rewritten is compared with its digest before, and has a new one written down
first, so that a kill in between leaves rows that agree with one of the two.

Rewritten by hand, not by Delta's `update`: that writes text in a layout (Arrow's views) that pyarrow 26 cannot filter.
"""

import numpy as np
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake

from data_ops.documents.fates import LIVING, hide
from data_ops.kernels.arrays import ids_to_array
from data_ops.kernels.id_sets import is_member
from data_ops.lake.compact import refuse_earlier_writers
from data_ops.lake.lake import Lake
from data_ops.lake.schemas import STORED_DOCUMENT_SCHEMA, properties

LOG_KEPT, AT_ONCE = "delta.logRetentionDuration", "interval 0 seconds"


def erase(lake: Lake) -> int:
    """Take text, tokens and external id of every forgotten document out of `documents`; returns the rows changed.

    Costs a look at every id of the lake (16 bytes a row), and the rewriting of every file with such a document.
    """
    table, gone, changed = lake.table("documents"), lake.forgotten(), 0
    if table is None:
        return 0
    refuse_earlier_writers(table, properties("documents"))
    todo = unerased(lake)
    while todo:
        first, last = _stretch(table, next(iter(todo)))
        rows = lake.stored(first, last)
        hidden = hide(rows, gone)
        lake.note_erased(first, hidden)
        write_deltalake(
            table,
            hidden.cast(STORED_DOCUMENT_SCHEMA),
            mode="overwrite",
            predicate=f"window >= {first} AND window <= {last}",
        )
        changed += sum(todo.pop(window) for window in [w for w in todo if first <= w <= last])
    return changed


def unerased(lake: Lake) -> dict[int, int]:
    """In which windows text or external id of forgotten documents still stands, and in how many rows of each."""
    gone, table = lake.forgotten(), lake.table("documents")
    left: dict[int, int] = {}
    if table is None or not len(gone):
        return left
    rest = (pc.field("fate").isin(LIVING) | pc.field("external_id").is_valid()) & pc.field("id").is_valid()
    for batch in lake.dataset(table).to_batches(columns=["id", "window"], filter=rest):
        windows = batch["window"].to_numpy()[is_member(ids_to_array(batch["id"]), gone)]
        for window, count in zip(*np.unique(windows, return_counts=True), strict=True):
            left[int(window)] = left.get(int(window), 0) + int(count)
    return left


def _stretch(table: DeltaTable, window: int) -> tuple[int, int]:
    """The smallest stretch of windows around this one whose files hold no other window."""
    files = table.get_add_actions(flatten=True)
    bounds = zip(files.column("min.window").to_pylist(), files.column("max.window").to_pylist(), strict=True)
    spans = sorted((int(low), int(high)) for low, high in bounds if low is not None)
    first, last, grown = window, window, True
    while grown:
        reached = [(low, high) for low, high in spans if low <= last and high >= first]
        wider = min([first, *(low for low, _ in reached)]), max([last, *(high for _, high in reached)])
        grown, (first, last) = wider != (first, last), wider
    return first, last


def clean(lake: Lake) -> None:
    """Delete the files and log entries of `documents` that its newest version does not need, however young.

    The change of a property comes first, so that Delta refuses whoever began to write before it (a process that is
    about to die): no file that is deleted here can be named by a later version.
    """
    table = lake.table("documents")
    if table is None:
        return
    usual = properties("documents")[LOG_KEPT]
    before = table.metadata().configuration.get(LOG_KEPT, usual)
    table.alter.set_table_properties({LOG_KEPT: AT_ONCE})
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False, full=True)
    table.create_checkpoint()
    table.cleanup_metadata()
    table.alter.set_table_properties({LOG_KEPT: usual if before == AT_ONCE else before})  # AT_ONCE: a killed clean
