"""Which row of the lake is meant by a document's id, its beginning, an external id or a place?

A place is found by the ranges of offsets that files hold; for an id or external id that one column of the whole lake
is read, as ids are random: 0.6 s at 1e6 documents in 200 windows, on two cores that others used too.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_ops.documents.document import DOCUMENT_SCHEMA
from data_ops.kernels.arrays import Ids, ids_to_array
from data_ops.kernels.id_sets import is_member
from data_ops.lake.lake import Lake

ID_DIGITS = 32
FEWEST_DIGITS = 4  # of an id's beginning
KEYS = ["window", "position"]
ROW_COLUMNS = [name for name in DOCUMENT_SCHEMA.names if name != "tokens"]


class DocumentRow(TypedDict):
    """One row of `documents` without its tokens; id: None of what could not be read."""

    id: bytes | None
    window: int
    position: int
    source: str
    partition: str
    offset: int
    external_id: str | None
    event_time: datetime | None
    arrived: datetime | None
    time_note: str | None
    weight: float
    text: str | None
    num_bytes: int
    num_tokens: int
    fate: str
    reason: str | None


@dataclass(frozen=True)
class Found:
    """Rows that a name may mean, in log order, without tokens; a document's repeats besides it share its id."""

    rows: list[DocumentRow]

    @property
    def documents(self) -> list[DocumentRow]:
        """One row a document: the first of those with an id, and each without."""
        first: dict[bytes | tuple[int, int], DocumentRow] = {}
        for row in self.rows:
            first.setdefault(row["id"] or (row["window"], row["position"]), row)
        return list(first.values())


def find(lake: Lake, name: str) -> Found:
    """Rows that `name` means: an id of 32 hexadecimal digits, 4 or more first digits of one, an external id, or
    source:partition:offset. What is no whole id may be any of the others."""
    tests = [pc.field("external_id") == name]
    if re.fullmatch(rf"[0-9a-fA-F]{{{ID_DIGITS}}}", name):
        tests = [pc.field("id") == pa.scalar(bytes.fromhex(name), pa.binary())]
    elif re.fullmatch(rf"[0-9a-fA-F]{{{FEWEST_DIGITS},{ID_DIGITS - 1}}}", name):
        low, high = (pa.scalar(bytes.fromhex(name.ljust(ID_DIGITS, fill)), pa.binary()) for fill in "0f")
        tests.append((pc.field("id") >= low) & (pc.field("id") <= high))
    places = _search(lake, None, tests)
    if place := re.fullmatch(r"([^:]+):(.+):(\d+)", name):
        source, partition, offset = place[1], place[2], int(place[3])
        here = (pc.field("source") == source) & (pc.field("partition") == partition) & (pc.field("offset") == offset)
        places |= _search(lake, [("offset", "<=", offset), ("offset", ">=", offset)], [here])
    return Found(_rows(lake, places))


def find_all(lake: Lake, names: Sequence[str]) -> dict[str, Found]:
    """The same for many names: whole ids with one look at the lake, every other name with its own."""
    whole = [name for name in names if re.fullmatch(rf"[0-9a-fA-F]{{{ID_DIGITS}}}", name)]
    known = rows_of_ids(lake, [bytes.fromhex(name) for name in whole])
    found = {name: Found(known.get(bytes.fromhex(name), [])) for name in whole}
    return {name: found[name] if name in found else find(lake, name) for name in names}


def rows_of_ids(lake: Lake, ids: Collection[bytes]) -> dict[bytes, list[DocumentRow]]:
    """All rows with these ids, in log order, by id: a document, and those that repeat it; one look at the lake."""
    found: dict[bytes, list[DocumentRow]] = {}
    if ids:
        for row in _rows(lake, _search(lake, None, [pc.field("id").isin(pa.array(ids, pa.binary()))])):
            found.setdefault(row["id"] or b"", []).append(row)
    return found


def known_ids(lake: Lake, ids: Ids) -> npt.NDArray[np.bool_]:
    """Say which of these ids stand in a row of a committed window; reads every id of the lake."""
    found = np.zeros(len(ids), bool)
    table, last = lake.table("documents"), lake.last_window()
    if table is not None:
        there = pc.field("id").is_valid() & (pc.field("window") <= last)
        for batch in lake.dataset(table).to_batches(columns=["id"], filter=there):
            found |= is_member(ids, ids_to_array(batch["id"]))
    return found


def _search(lake: Lake, prune: list[tuple[str, str, int]] | None, tests: list[pc.Expression]) -> set[tuple[int, int]]:
    """Places (window, position) of the rows that pass one of the tests."""
    table = lake.table("documents")
    if table is None:
        return set()
    condition = tests[0]
    for test in tests[1:]:
        condition = condition | test
    found = lake.dataset(table, prune).to_table(columns=KEYS, filter=condition)
    return set(zip(*(found[key].to_pylist() for key in KEYS), strict=True))


def _rows(lake: Lake, places: set[tuple[int, int]]) -> list[DocumentRow]:
    """These rows without their tokens, as readers are shown them; a window that is not committed is not."""
    rows = []
    for window in sorted({window for window, _ in places}):
        table = lake.documents(window, window, ROW_COLUMNS)
        wanted = pa.array([position for w, position in places if w == window], pa.int64())
        rows += table.filter(pc.is_in(table["position"], wanted)).to_pylist()
    return rows
