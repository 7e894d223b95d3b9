"""What is in a store: how many records of each source, site, month, length and outcome, and some of each to look at?

One pass over the narrow columns of `documents`, a stretch of windows at a time. Texts are not read; what is held grows
with the number of sites, months and reasons, not with the number of records. The outcome of a kept document is what
the rounds have made of it (audit/marks.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_ops.audit.account import PENDING, SHED, SKIPPED, TRAINED, Stand
from data_ops.audit.marks import RoundMarks, round_marks
from data_ops.kernels.arrays import Ids, Ints, array_to_ids
from data_ops.lake.lake import Lake
from data_ops.survey.sites import sites_of
from data_ops.survey.sums import GroupSums, PlaceSample

ROWS_AT_ONCE = 250_000
BLOCKS = 64  # of windows, for rates over time
VALUES = ["records", "num_bytes", "num_tokens"]
LONGEST = 40  # 2**40 bytes
FORGOTTEN = "forgotten"  # the fate, and the reason for which a copy of a forgotten text is dropped
COLUMNS = ["window", "position", "id", "source", "partition", "external_id", "event_time", "fate", "reason"]
COLUMNS += ["num_bytes", "num_tokens"]
#: What may become of a record, as `headrace verify` counts; a kept document is in one of four states.
OUTCOMES = ("trained", "pending", "held_out", "shed", "skipped", "dropped", "quarantined", "forgotten")
STATES = {TRAINED: "trained", PENDING: "pending", SHED: "shed", SKIPPED: "skipped"}
#: By what records are counted: the tables of a `Corpus`.
KEYS = (
    ["source", "month", "outcome", "reason"],
    ["site", "source", "outcome"],
    ["source", "outcome", "octaves"],
    ["source", "block", "outcome", "reason"],
)
SCHEMA = pa.schema(
    [
        ("window", pa.int64()),
        ("position", pa.int64()),
        ("source", pa.string()),
        ("site", pa.string()),
        ("month", pa.timestamp("us", "UTC")),  # null where no time is known
        ("outcome", pa.string()),
        ("reason", pa.string()),  # of dropped and quarantined ones
        ("octaves", pa.int8()),  # log2 of the bytes, rounded down
        ("block", pa.int64()),
        ("records", pa.int64()),
        ("num_bytes", pa.int64()),
        ("num_tokens", pa.int64()),
        ("is_shown", pa.bool_()),  # whether it may be a sample
    ]
)


@dataclass(frozen=True)
class Corpus:
    """Sums over all records of the committed windows, each table ordered by its first columns.

    months: source, month, outcome, reason; sites: site, source, outcome; lengths: source, outcome, octaves (log2 of
    bytes); blocks: source, block, outcome, reason, where a block is 1/`num_blocks` of the windows. All have records,
    num_bytes, num_tokens. by_reason, by_site: places (window, position) of samples.
    """

    num_windows: int
    num_blocks: int
    months: pa.Table
    sites: pa.Table
    lengths: pa.Table
    blocks: pa.Table
    by_reason: pa.Table
    by_site: pa.Table


def survey(
    lake: Lake, stands: Mapping[str, Stand], samples: int, seed: int, *, rows_at_once: int = ROWS_AT_ONCE
) -> Corpus:
    """Count everything, and choose so many samples of each source, outcome and reason, and of each site.

    stands: how far the weights of each run are; a document is trained if it is in those of one of them. Of a site only
    documents that are kept or held out are samples. Raises DamagedError where the lake is not what was written.
    """
    last = lake.last_window()
    num_blocks = max(min(BLOCKS, last + 1), 1)
    sums = [GroupSums(keys, VALUES) for keys in KEYS]
    by_reason = PlaceSample(["source", "outcome", "reason"], samples, seed)
    by_site = PlaceSample(["site", "source"], samples, seed)
    marks = round_marks(lake, stands)
    for low, high in lake.stretches(0, last, rows_at_once):
        documents = lake.documents(low, high, COLUMNS)
        rows = _rows(documents, marks, lake.forgotten(), (last + 1, num_blocks))
        for each in sums:
            each.add(rows)
        shown = rows.filter(rows["is_shown"])
        by_reason.add(shown)
        by_site.add(shown.filter(pc.invert(pc.is_in(shown["outcome"], pa.array(["dropped", "quarantined"])))))
    tables = [_or_empty(each.table(), [*each.keys, *each.values]) for each in sums]
    chosen = [_or_empty(each.table(), [*each.keys, "window", "position"]) for each in (by_reason, by_site)]
    return Corpus(last + 1, num_blocks, *tables, *chosen)


def blocks_of(lake: Lake) -> tuple[pa.Table, int]:
    """Only `Corpus.blocks` and the number of blocks, by outcomes of ingest alone (a kept document is pending).

    Six narrow columns are read: what a report needs of the losses. Raises DamagedError as `survey` does.
    """
    last = lake.last_window()
    num_blocks = max(min(BLOCKS, last + 1), 1)
    sums = GroupSums(KEYS[-1], VALUES)
    for low, high in lake.stretches(0, last, ROWS_AT_ONCE):
        documents = lake.documents(low, high, ["window", "source", "fate", "reason", "num_bytes", "num_tokens"])
        fates, windows = _flat(documents["fate"]), documents["window"].to_numpy()
        columns = {
            "source": documents["source"],
            "block": _blocks(windows, last + 1, num_blocks),
            "outcome": pc.if_else(pc.equal(fates, "kept"), "pending", fates),
            "reason": _reasons(documents, fates),
            "records": np.ones(len(windows), np.int64),
            "num_bytes": documents["num_bytes"],
            "num_tokens": documents["num_tokens"],
        }
        sums.add(pa.table(columns))
    return _or_empty(sums.table(), [*KEYS[-1], *VALUES]), num_blocks


def _or_empty(table: pa.Table | None, names: list[str]) -> pa.Table:
    return SCHEMA.empty_table().select(names) if table is None else table.select(names)


def _rows(documents: pa.Table, marks: RoundMarks, forgotten: Ids, blocks: tuple[int, int]) -> pa.Table:
    """Records as what is counted of them; blocks: number of windows, and of the blocks that they are cut into."""
    windows, positions = documents["window"].to_numpy(), documents["position"].to_numpy()
    states = pa.array([STATES[state] for state in range(len(STATES))]).take(marks.of(windows, positions)[0])
    fates = _flat(documents["fate"])
    num_bytes = documents["num_bytes"].to_numpy()
    columns = {
        "window": windows,
        "position": positions,
        "source": documents["source"],
        "site": sites_of(_flat(documents["external_id"]), _flat(documents["partition"])),
        "month": pc.floor_temporal(documents["event_time"], unit="month"),
        "outcome": pc.if_else(pc.equal(fates, "kept"), states, fates),
        "reason": _reasons(documents, fates),
        "octaves": np.minimum(np.frexp(np.maximum(num_bytes, 1).astype(np.float64))[1] - 1, LONGEST).astype(np.int8),
        "block": _blocks(windows, *blocks),
        "records": np.ones(len(windows), np.int64),
        "num_bytes": num_bytes,
        "num_tokens": documents["num_tokens"],
        "is_shown": _may_be_shown(documents, forgotten),
    }
    return pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _reasons(documents: pa.Table, fates: pa.Array) -> pa.Array:
    """Why a record was dropped or quarantined; null of others."""
    has_reason = pc.is_in(fates, pa.array(["dropped", "quarantined"]))
    return pc.if_else(has_reason, pc.fill_null(_flat(documents["reason"]), "no reason"), None)


def _blocks(windows: Ints, num_windows: int, num_blocks: int) -> Ints:
    """Into which block each window falls."""
    return windows * num_blocks // max(num_windows, 1)


def _flat(column: pa.ChunkedArray) -> pa.Array:
    column = column.combine_chunks()
    return pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column


def _may_be_shown(documents: pa.Table, forgotten: Ids) -> pa.Array:
    """Nothing that was forgotten, nor what was dropped as a copy of it."""
    shown = pc.not_equal(
        pc.if_else(pc.equal(documents["fate"], "dropped"), documents["reason"], documents["fate"]), FORGOTTEN
    )
    gone = pc.is_in(documents["id"].cast(pa.binary()), array_to_ids(forgotten).cast(pa.binary()))
    return pc.and_(shown, pc.invert(gone))
