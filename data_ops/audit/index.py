"""Does every index hold exactly what follows from the lake, and are its files what was written?

For `headrace verify --deep`. An index is a cache: where it is wrong ingest finds so when it reads the place, and builds
it again; here all of it is read, and what it should hold is made anew from the ids and the texts of the lake.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from data_ops.audit.digests import attempt
from data_ops.index.folder import KNOWN_IDS, KNOWN_SKETCHES, IndexFolder
from data_ops.index.kept import DamagedIndexError, MarkOf
from data_ops.index.kept_index import check_mark
from data_ops.index.known_sketches import mark_of_sketches, sketch_rows
from data_ops.kernels.arrays import ids_to_array
from data_ops.kernels.sorted_rows import Rows, sum_of
from data_ops.kernels.texts.minhash import minhash
from data_ops.lake.lake import Lake

ROWS_AT_ONCE = {KNOWN_IDS: 100_000, KNOWN_SKETCHES: 10_000}  # the texts are read for these
KNOWN_FATES = ("kept", "held_out", "forgotten")  # whose ids never come again
RowsOf = Callable[[pa.Table], Mapping[str, Rows]]


def damage_of_index(lake: Lake, copies: Path) -> list[str]:
    """A sentence for each index of a store that is not what follows from its lake; [] where there is none.

    copies: a folder for files of a bucket.
    """
    found = _damage(lake, IndexFolder(lake.store, KNOWN_IDS, copies), lake.mark, _ids)
    return found + _damage(lake, IndexFolder(lake.store, KNOWN_SKETCHES, copies), mark_of_sketches(lake), _sketches)


def _damage(lake: Lake, folder: IndexFolder, mark_of: MarkOf, rows: RowsOf) -> list[str]:
    number, found = folder.newest(), list[str]()
    while number >= 0:
        found = []
        attempt(found, partial(_check, lake, folder, number, mark_of, rows), folder.path)
        number, before = folder.newest(), number
        if not found or number == before:  # else an ingest has made the next one meanwhile
            break
    return [f"{sentence}; delete {folder}, it is built again" for sentence in found]


def _check(lake: Lake, folder: IndexFolder, number: int, mark_of: MarkOf, rows_in: RowsOf) -> None:
    manifest = folder.read(number)
    check_mark(manifest, mark_of(manifest.window))
    held, wanted = dict[str, tuple[int, int]](), dict[str, tuple[int, int]]()
    for facts in manifest.files:
        folder.open(facts).check()
        _add(held, facts.kind, facts.num_rows, facts.total)
    for first, last in lake.stretches(0, manifest.window, ROWS_AT_ONCE[folder.path]):
        documents = lake.documents(first, last, ["id", "text"][: 1 + (rows_in is _sketches)], KNOWN_FATES)
        for kind, rows in rows_in(documents).items():
            _add(wanted, kind, len(rows), sum_of(rows))
    for kind in held | wanted:
        (ours, total), (theirs, should) = held.get(kind, (0, 0)), wanted.get(kind, (0, 0))
        if (ours, total) != (theirs, should):
            raise DamagedIndexError(
                f"{folder} holds {ours} {kind}, which are not the {theirs} of the lake up to window {manifest.window}"
            )


def _add(sums: dict[str, tuple[int, int]], kind: str, num: int, total: int) -> None:
    before = sums.get(kind, (0, 0))
    sums[kind] = before[0] + num, (before[1] + total) % 2**64


def _ids(documents: pa.Table) -> Mapping[str, Rows]:
    return {"ids": ids_to_array(documents["id"])}


def _sketches(documents: pa.Table) -> Mapping[str, Rows]:
    documents = documents.filter(pc.is_valid(documents["text"]))
    found = minhash(documents["text"].combine_chunks())
    return sketch_rows(ids_to_array(documents["id"])[:, 0].copy(), found.signatures, found.bands)
