"""Is every committed row read once by processes that are killed, and none that was rolled back?"""

from pathlib import Path

import pytest

from tests.data_ops.sources.sql import killing
from tests.support.sql.postgres import Postgres

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("rows", "kills", "seed"),
    [(1_200, 1, 1), *(pytest.param(5_300, 3, seed, marks=pytest.mark.long) for seed in (2, 3, 4))],
)
def test_no_row_is_lost_or_repeated_by_readers_that_are_killed_beside_writers_that_roll_back(
    tmp_path: Path, server: Postgres, rows: int, kills: int, seed: int
):
    outcome = killing.prove(server, tmp_path, rows, kills, seed)
    assert outcome.committed >= rows * 0.9 and outcome.rolled_back > 20 and outcome.kills == kills
    assert (outcome.lost, outcome.repeated, outcome.strangers) == (0, 0, 0)
