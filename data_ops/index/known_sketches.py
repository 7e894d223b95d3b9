"""Which texts are nearly one that is known already, in a store of any size?

What `NearIndex` answers, of which only the last windows lie in memory (`data_ops/index/kept_index.py`). In files are,
for every document, fourteen rows of a band key and the document's number, and one row of its number and signature: 372
bytes. A document's number is the first half of its id. The files of a key begin with the smallest numbers, so the
FAMILY smallest of all are the smallest of the first FAMILY rows of each file and of what lies in memory: to the bit
what one index in memory says. Nothing else is kept of a key, but no row is left out either, because a document may be
forgotten.

What was forgotten in the lake leaves the files: at once by `headrace forget`, and otherwise at the next opening.
"""

import math
from collections.abc import Mapping
from functools import partial

import numpy as np

from data_ops.index.folder import IndexFolder, IndexManifest
from data_ops.index.kept import DamagedIndexError, LakeLog, MarkOf
from data_ops.index.kept_index import KeptIndex
from data_ops.index.sorted_file import SortedFile
from data_ops.index.sorted_writer import count_without, write_without
from data_ops.kernels.arrays import Bools, Bytes, Ids, Ints, Words, ids_to_array
from data_ops.kernels.near_index import FAMILY, NearIndex, Outside, are_alike
from data_ops.kernels.sorted_rows import Rows, sum_of
from data_ops.kernels.texts.minhash import NUM_BANDS, NUM_HASHES, sketch_version

AT_ONCE = 1 << 14  # how many documents are held in memory before they are written, and read again by a start
DOCUMENT = {"bands": 1, "sketches": 0}  # which word of a row is the document's number


class KnownSketches(KeptIndex):
    """A growing set of sketches, kept in a store up to a window.

    agreement: two sketches are alike when so many of their 112 hashes are equal.
    """

    def __init__(self, folder: IndexFolder, log: LakeLog, agreement: int, at_once: int = AT_ONCE) -> None:
        self.log, self.agreement = log, agreement
        super().__init__(folder, mark_of_sketches(log), at_once)

    def __len__(self) -> int:
        return len(self.recent) + sum(file.facts.num_rows for file in self._of("sketches"))

    def add(self, ids: Words, signatures: Bytes, bands: Words) -> Bools:
        """Add sketches; True where one is unlike all before it, the earlier ones of this call included."""
        return self.recent.add(ids, signatures, bands, self._outside(signatures, bands))

    def look(self, signatures: Bytes, bands: Words) -> Bools:
        """Say which sketches are like one that was added; adds none."""
        return self.recent.look(signatures, bands, self._outside(signatures, bands))

    def clear_disk(self) -> None:
        """Delete every file that does not count, however young: nobody else may keep the index in this moment."""
        if self.written < 0:  # what is there was not believed, so nothing was taken out of it
            self.folder.store.delete(self.folder.path)
        self.folder.clean(self._named if self.written >= 0 else (), -math.inf)

    def _begin(self) -> None:
        self.recent = NearIndex(NUM_HASHES, NUM_BANDS, self.agreement)

    def _num_recent(self) -> int:
        return len(self.recent)

    def _recent_rows(self) -> Mapping[str, Rows]:
        return sketch_rows(*self.recent.sketches)

    def _open(self) -> None:
        super()._open()
        gone = self._gone()
        if self.written >= 0 and len(gone) > self.forgotten[0]:
            try:
                self._leave_out(gone)
            except (DamagedIndexError, OSError) as error:
                self._forget()
                self._tell_loss(error)

    def _forget(self) -> None:
        super()._forget()
        self.forgotten = _summed(self._gone())  # what is added from now on is read without these

    def _check(self, manifest: IndexManifest) -> None:
        super()._check(manifest)
        gone, num = self._gone(), manifest.forgotten
        if len(gone) < num or _summed(gone[:num])[1] != manifest.forgotten_sum:
            raise DamagedIndexError("it leaves out documents that this lake has not forgotten")

    def _gone(self) -> Ids:
        """Ids of the documents that are forgotten, in the order in which that was told."""
        return ids_to_array(self.log.tombstones()["id"])

    def _leave_out(self, gone: Ids) -> None:
        """Write the files anew that have rows of forgotten documents."""
        numbers = np.unique(gone[self.forgotten[0] :, 0])
        files = list[SortedFile]()
        for file in self.files:
            column = DOCUMENT[file.facts.kind]
            num = count_without(file, column, numbers)
            if num == file.facts.num_rows:
                files.append(file)
            elif num:
                write = partial(write_without, file, column, numbers, num)
                files.append(self.folder.open(self.folder.write(write, file.facts.kind)))
        self.forgotten = _summed(gone)
        self._publish(files, self.written, self.mark)

    def _of(self, kind: str) -> list[SortedFile]:
        return [file for file in self.files if file.facts.kind == kind]

    def _outside(self, signatures: Bytes, bands: Words) -> Outside | None:
        """What the files have of the keys of some sketches."""
        if not self.files:
            return None
        try:
            keys, places = np.empty(0, np.int64), np.empty(0, np.uint64)
            order = np.argsort(bands.reshape(-1))
            in_order = bands.reshape(-1)[order]
            for file in self._of("bands"):
                which, rows = file.find(in_order, FAMILY)
                keys, places = np.append(keys, order[which]), np.append(places, file.rows[rows, 1])
            keys, ids = _families(keys, places)
            begins = np.zeros(bands.size + 1, np.int64)
            np.cumsum(np.bincount(keys, minlength=bands.size), out=begins[1:])
            return Outside(begins, ids, self._alike(signatures, keys // NUM_BANDS, ids))
        except DamagedIndexError as error:
            raise self._lost(error) from error

    def _alike(self, signatures: Bytes, rows: Ints, ids: Words) -> Bools:
        """Which of some sketches are like the documents of these numbers."""
        numbers, places = np.unique(ids, return_inverse=True)
        others, there = np.empty((len(numbers), NUM_HASHES), np.uint8), np.zeros(len(numbers), np.bool_)
        for file in self._of("sketches"):
            which, found = file.find(numbers, 1)
            others[which], there[which] = file.rows[found, 1:].view(np.uint8), True
        if not there.all():
            raise DamagedIndexError(f"{self.folder} has bands of {(~there).sum()} documents without a sketch")
        return are_alike(signatures, rows, others, places, self.agreement)


def sketch_rows(ids: Words, signatures: Bytes, bands: Words) -> dict[str, Rows]:
    """What lies in files of documents with these numbers, by kind of file."""
    keys = np.stack([bands.reshape(-1), np.repeat(ids, NUM_BANDS)], axis=1)
    return {"bands": keys, "sketches": np.column_stack([ids, signatures.view(np.uint64)])}


def mark_of_sketches(log: LakeLog) -> MarkOf:
    """What a window is known by to an index of sketches, which are to be compared with those of this version alone."""
    version = sketch_version()

    def mark_of(window: int) -> str | None:
        return None if (mark := log.mark(window)) is None else f"{mark} {version}"

    return mark_of


def forget_sketches(folder: IndexFolder, log: LakeLog) -> None:
    """Let the sketches of all forgotten documents leave the disk. Only while nobody ingests; may be repeated."""
    if folder.store.list(folder.path) or folder.store.asides(folder.path):
        KnownSketches(folder, log, NUM_HASHES).clear_disk()


def _summed(gone: Ids) -> tuple[int, int]:
    return len(gone), sum_of(gone)


def _families(keys: Ints, ids: Words) -> tuple[Ints, Words]:
    """Of each key's rows the FAMILY with the smallest ids, in order of both."""
    order = np.lexsort((ids, keys))
    keys, ids = keys[order], ids[order]
    first = np.maximum.accumulate(np.where(np.append(True, keys[1:] != keys[:-1]), np.arange(len(keys)), 0))
    few = np.arange(len(keys)) - first < FAMILY  # more would change no answer, and cost comparisons
    return keys[few], ids[few]
