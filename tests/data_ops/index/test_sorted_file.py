"""Is a file of sorted ids what was given, however it is written, and is every damage of it found?"""

import numpy as np
import pytest

from data_ops.index.kept import DamagedIndexError
from data_ops.index.sorted_file import SortedFile
from data_ops.index.sorted_writer import merge, write_rows
from tests.data_ops.index.logs import hashes


@pytest.mark.parametrize("shift", [0, 32, 60])
def test_a_merge_in_short_stretches_is_the_whole_also_of_ids_that_are_no_hashes(tmp_path, shift):
    ids = hashes(1, [900])[0]
    ids[:, 0] >>= np.uint64(shift)  # 60: all belong into the first line, and most stretches are empty
    paths, parts = [tmp_path / f"{name}.ids" for name in "abc"], (ids[:500], ids[500:501], ids[501:])
    files = []
    for path, part in zip(paths, parts, strict=True):
        with open(path, "wb") as file:
            facts = write_rows(part, file, path.name)
        files.append(SortedFile(path, facts))
    with open(tmp_path / "merged.ids", "wb") as file:
        facts = merge(files, file, "merged.ids", at_once=40)
    with open(tmp_path / "direct.ids", "wb") as file:
        assert write_rows(ids, file, "merged.ids") == facts
    assert (tmp_path / "merged.ids").read_bytes() == (tmp_path / "direct.ids").read_bytes()
    assert SortedFile(tmp_path / "merged.ids", facts).contains(ids).all()


@pytest.mark.slow
def test_a_check_of_the_whole_file_finds_every_flipped_bit(tmp_path):
    path, ids, rng = tmp_path / "a.ids", hashes(2, [500])[0], np.random.default_rng(1)
    with open(path, "wb") as file:
        facts = write_rows(ids, file, "a.ids")
    SortedFile(path, facts).check()
    whole = path.read_bytes()
    for place in [*range(64), *rng.integers(0, len(whole), 300).tolist()]:
        data = bytearray(whole)
        data[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        with pytest.raises(DamagedIndexError):
            SortedFile(path, facts).check()
