"""Has every record that the windows promised exactly one row, and no other?

A record's name is (source, partition, offset); a window's spans promise stretches of them. Rows are read some windows
at a time and kept as numbers, about 50 bytes a record, so that a lake of many millions can be audited.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_ops.documents.document import FATES
from data_ops.documents.place import place_keys
from data_ops.kernels.arrays import Ids, Ints, ids_to_array
from data_ops.lake.lake import Lake
from data_ops.lake.window import Window

COLUMNS = ["window", "position", "source", "partition", "offset", "fate", "id"]
RECORDS_AT_ONCE = 500_000
NO_ID = bytes(16)  # of a quarantined record

Partitions = dict[tuple[str, str], int]


@dataclass(frozen=True)
class Records:
    """All rows of the lake's committed windows, as numbers: one entry of each array a row."""

    keys: Ints  # place_keys(window, position)
    partitions: npt.NDArray[np.int32]  # number of (source, partition), see `numbers`
    offsets: Ints
    fates: npt.NDArray[np.int8]  # number in FATES
    ids: Ids  # uint64[n, 2]
    numbers: Partitions

    def number_of(self, source: str, partition: str) -> int:
        """The number of a partition; one of which there are no rows gets the next."""
        return self.numbers.setdefault((source, partition), len(self.numbers))

    def having(self, fate: str) -> npt.NDArray[np.bool_]:
        """Which rows have this fate."""
        mask: npt.NDArray[np.bool_] = self.fates == FATES.index(fate)
        return mask


def read_records(lake: Lake, windows: list[Window]) -> Records:
    """Read the rows of these committed windows."""
    numbers: Partitions = {}
    parts = [_numbers(lake.documents(*stretch, COLUMNS), numbers) for stretch in _stretches(windows)]
    none = _numbers(pa.table({c: [] for c in COLUMNS}), numbers)
    keys, partitions, offsets, fates, ids = (np.concatenate(columns) for columns in zip(none, *parts, strict=True))
    return Records(keys, partitions, offsets, fates, ids, numbers)


def check_windows(windows: list[Window], records: Records) -> tuple[int, int, list[str]]:
    """Compare the rows with the spans that promised them: (lost, repeated, problems).

    lost: promised records without a row; repeated: rows of a record beyond its first.
    """
    problems: list[str] = []
    numbers = [w.window for w in windows]
    if numbers != list(range(len(numbers))):
        problems.append(f"windows are numbered {numbers[:5]}..., not 0, 1, 2, ...")
    short = [w for w in windows if w.counts is not None and w.counts["read"] != w.num_records]
    problems += [f"window {w.window} says it read {(w.counts or {})['read']} of {w.num_records} records" for w in short]
    spans = sorted(
        (records.number_of(label, span.partition), span.first_record, span.num_records, window.window)
        for window in windows
        for label, each in window.spans.items()
        for span in each
        if span.num_records
    )
    of, first, count, by = np.array(spans, np.int64).reshape(-1, 4).T
    begins = np.concatenate([[True], of[1:] != of[:-1]])[: len(of)]
    follows = np.where(begins, 0, np.concatenate([[0], (first + count)[:-1]])[: len(of)])
    names = {number: name for name, number in records.numbers.items()}
    for number in np.unique(of[first != follows]).tolist():
        problems.append(f"{names[number][0]}: the spans of {names[number][1]} leave a gap or overlap")
    order = np.lexsort((records.offsets, records.partitions))
    partition, offset = records.partitions[order].astype(np.int64), records.offsets[order]
    new = np.ones(len(order), bool)
    new[1:] = (partition[1:] != partition[:-1]) | (offset[1:] != offset[:-1])
    # The span that could hold a row is the last one that begins at or before it.
    span = np.searchsorted(_pairs(of, first), _pairs(partition, offset), side="right") - 1
    inside = span >= 0
    if len(of):
        inside &= (of[span] == partition) & (offset < (first + count)[span])
    if strangers := int((~inside).sum()):
        problems.append(f"{strangers} rows are of records that no window promised")
    elsewhere = int((by[span[inside]] != records.keys[order][inside] >> 32).sum())
    if elsewhere:
        problems.append(f"{elsewhere} rows stand in another window than the one that promised them")
    promised = _covered(of, first, count)
    return promised - int((new & inside).sum()), int((~new).sum()), problems


def _pairs(first: Ints, second: Ints) -> npt.NDArray[Any]:
    """Pairs of numbers from 0 on as one array that sorts like them."""
    pairs = np.stack([first, second], axis=1).astype(">u8")
    return np.ascontiguousarray(pairs).view("S16").reshape(-1)


def _covered(of: Ints, first: Ints, count: Ints) -> int:
    """How many different records sorted spans promise; where two overlap, each record counts once."""
    total, partition, reached = 0, -1, 0
    for p, begin, n in zip(of.tolist(), first.tolist(), count.tolist(), strict=True):
        if p != partition:
            partition, reached = p, 0
        total += max(0, begin + n - max(begin, reached))
        reached = max(reached, begin + n)
    return total


def _stretches(windows: list[Window]) -> Iterator[tuple[int, int]]:
    """Cut the windows, in order, into stretches of about RECORDS_AT_ONCE records: first and last window."""
    first, size = None, 0
    for place, window in enumerate(windows):
        first = window.window if first is None else first
        size += window.num_records
        if size >= RECORDS_AT_ONCE or place == len(windows) - 1:
            yield first, window.window
            first, size = None, 0


def _numbers(rows: pa.Table, numbers: Partitions) -> tuple[npt.NDArray[Any], ...]:
    """The columns of `Records` for some rows; partitions met first get the next numbers."""
    names = [rows[c].cast(pa.string()).combine_chunks().dictionary_encode() for c in ("source", "partition")]
    sources, partitions = (n.dictionary.to_pylist() for n in names)
    codes = names[0].indices.to_numpy().astype(np.int64) * max(1, len(partitions)) + names[1].indices.to_numpy()
    seen, where = np.unique(codes, return_inverse=True)
    pairs = [(sources[c // len(partitions)], partitions[c % len(partitions)]) for c in seen.tolist()]
    known = np.array([numbers.setdefault(pair, len(numbers)) for pair in pairs], np.int32)
    fates = pc.index_in(rows["fate"].cast(pa.string()), pa.array(FATES)).to_numpy()
    ids = pc.fill_null(rows["id"].cast(pa.binary()), NO_ID)
    places = [rows[c].cast(pa.int64()).to_numpy() for c in ("window", "position")]
    return (
        place_keys(*places),
        known[where] if len(known) else np.empty(0, np.int32),
        rows["offset"].cast(pa.int64()).to_numpy(),
        fates.astype(np.int8),
        ids_to_array(ids),
    )
