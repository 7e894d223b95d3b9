"""Is every committed row read once by processes that are killed, and none that was rolled back?"""

from pathlib import Path

import pytest

from tests.data_ops.sources.sql import killing
from tests.support.sql.postgres import Postgres


@pytest.mark.slow
def test_no_row_is_lost_or_repeated_by_readers_that_are_killed_beside_writers_that_roll_back(tmp_path: Path):
    server = Postgres()
    try:
        outcome = killing.prove(server, tmp_path, rows=5_300, kills=2)
    finally:
        server.close()
    assert outcome.committed >= 5_000 and outcome.rolled_back > 100
    assert (outcome.lost, outcome.repeated, outcome.strangers) == (0, 0, 0)
