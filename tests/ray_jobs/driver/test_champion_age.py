"""Are the ages of a new champion those of what it was given and the one before was not?"""

from pathlib import Path

import pytest

from cluster.storage.store import Store
from data_ops.documents.place import Documents, Place
from data_ops.rounds.manifest import Manifest
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.driver.champion_age import champion_ages
from tests.support.checkpoints import commit_at
from tests.support.lakes import add_window, make_documents, make_lake

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("before", "counts"),
    [
        (None, {"docs": 4, "news": 10}),
        ("news@00000003/00000003", {"docs": 4, "news": 2}),
        ("news/9", {"docs": 4, "news": 10}),
    ],
)
def test_only_what_is_new_counts_by_source(tmp_path: Path, before: str | None, counts: dict[str, int]) -> None:
    lake = make_lake(tmp_path)
    store = Store.open(str(tmp_path))
    for number, source in enumerate(("news", "docs")):
        add_window(lake, make_documents(number, ["kept"] * 10, 100 * number, source=source))
    none = Documents.empty()
    for step, end in ((3, Place(0, 8)), (6, Place(1, 4))):
        run = f"news@{step:08d}"
        lake.add_round(run, 0, Manifest(0, end, end, 0, 0, 1, 8, "branch", none, none, none).to_row())
        commits.publish(store, commit_at(run, step))
    ages = champion_ages(lake, commits.load(store, "news@00000006", 6), before, 2e9)
    assert {source: len(found) for source, found in ages.items()} == counts
    own = lake.documents(1, 1, ["event_time"])["event_time"].to_pylist()[:4]
    assert ages["docs"] == tuple(sorted(2e9 - moment.timestamp() for moment in own))
