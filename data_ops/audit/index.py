"""Does the index hold exactly the ids of the lake, and are its files what was written?

For `headrace verify --deep`. An index is a cache: where it is wrong ingest finds so when it reads the place, and builds
it again; here all of it is read.
"""

from functools import partial
from pathlib import Path

from data_ops.audit.digests import attempt
from data_ops.index.folder import KNOWN_IDS, IndexFolder
from data_ops.index.kept import DamagedIndexError
from data_ops.index.kept_index import check_mark
from data_ops.kernels.arrays import ids_to_array
from data_ops.kernels.sorted_rows import sum_of
from data_ops.lake.lake import Lake

ROWS_AT_ONCE = 100_000
KNOWN_FATES = ("kept", "held_out", "forgotten")  # whose ids never come again


def damage_of_index(lake: Lake, copies: Path) -> list[str]:
    """A sentence if the known ids of a store are not those of its lake; [] if they are, or there is no index.

    copies: a folder for files of a bucket.
    """
    folder = IndexFolder(lake.store, KNOWN_IDS, copies)
    number, found = folder.newest(), list[str]()
    while number >= 0:
        found = []
        attempt(found, partial(_check, lake, folder, number), KNOWN_IDS)
        number, before = folder.newest(), number
        if not found or number == before:  # else an ingest has made the next one meanwhile
            break
    return [f"{sentence}; delete {folder}, it is built again" for sentence in found]


def _check(lake: Lake, folder: IndexFolder, number: int) -> None:
    manifest = folder.read(number)
    check_mark(manifest, lake.mark(manifest.window))
    for facts in manifest.files:
        folder.open(facts).check()
    num_ids, total = 0, 0
    for first, last in lake.stretches(0, manifest.window, ROWS_AT_ONCE):
        ids = ids_to_array(lake.documents(first, last, ["id"], KNOWN_FATES)["id"])
        num_ids, total = num_ids + len(ids), (total + int(sum_of(ids))) % 2**64
    held = sum(facts.num_rows for facts in manifest.files)
    if (num_ids, total) != (held, sum(facts.total for facts in manifest.files) % 2**64):
        raise DamagedIndexError(
            f"{folder} holds {held} ids, which are not the {num_ids} of the lake up to window {manifest.window}"
        )
