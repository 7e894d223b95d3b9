"""Is a flipped bit in any kind of file noticed? A few of them here; `python -m tests.chaos.flips` makes 1,000."""

from pathlib import Path

import pytest

from tests.chaos.flips.__main__ import choose, table
from tests.chaos.flips.readings import read_all
from tests.chaos.flips.trial import Trial, try_flip
from tests.support.small_store import make_store

FLIPS = 30


@pytest.mark.slow
def test_no_flipped_bit_is_silent(tmp_path: Path) -> None:
    make_store(tmp_path)
    before = read_all(tmp_path)
    assert [reading.error for reading in before.values() if reading.error] == []
    trials = [try_flip(tmp_path, trial, before) for trial in choose(tmp_path / "lake", FLIPS, 3)]
    assert [trial for trial in trials if trial.outcome in ("silent", "nameless")] == []
    assert sum(trial.outcome in ("noticed", "found") for trial in trials) > FLIPS // 3
    assert read_all(tmp_path) == before, "every bit was put back"
    assert f"| all | {FLIPS} |" in table(trials)


def test_every_kind_of_file_is_flipped_as_often_as_every_other(tmp_path: Path) -> None:
    for path, size in (("documents/a.parquet", 5000), ("documents/_delta_log/0.json", 10), ("store.json", 50)):
        place = tmp_path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(bytes(size))
    trials = choose(tmp_path, 9, 1)
    kinds = [trial.kind for trial in trials]
    assert sorted(set(kinds)) == ["documents", "documents log", "store.json"]
    assert all(kinds.count(kind) == 3 for kind in kinds)
    assert choose(tmp_path, 9, 1) == trials != choose(tmp_path, 9, 2)
    assert all(isinstance(trial, Trial) and 0 <= trial.bit < 8 for trial in trials)
