"""Does a clock that is ahead delete what another process is about to commit?"""

import os
import time
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from data_ops.lake import compact as module
from data_ops.lake.tables import properties


@pytest.mark.parametrize(("ahead_h", "stays"), [(0, False), (48, True)])
def test_a_file_that_was_written_and_not_committed_is_not_told_from_a_dead_ones_by_a_wrong_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, ahead_h: int, stays: bool
) -> None:
    """The clock of this machine stands right in the first case; the file is two days old in both."""
    monkeypatch.setattr(module, "MANY", 2)
    monkeypatch.setattr(module, "TARGETS", (1 << 20, 1 << 20))  # the first step looks at all files too
    place, settings = f"file://{tmp_path}/documents", dict(properties("documents"))
    for number in range(3):
        write_deltalake(place, pa.table({"number": [number]}), mode="append", configuration=settings)
    orphan = tmp_path / "documents" / "part-0.parquet"
    orphan.write_bytes(b"not committed yet")
    old = time.time() - 48 * 3600
    os.utime(orphan, (old, old))
    right = time.time
    monkeypatch.setattr(module.time, "time", lambda: right() + ahead_h * 3600)
    assert module.compact(DeltaTable(place), "documents", settings)
    assert orphan.exists() == stays
    assert ("this clock is 48.0 h ahead; set it" in caplog.text) == stays
