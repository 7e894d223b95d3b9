"""Does a checkpoint in service know how new the newest text is that it trained?"""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from cluster.storage.store import Store
from data_ops.lake.lake import Lake
from data_ops.rounds.manifest import Manifest
from ray_jobs.serving.followed import newest_event_s
from tests.support.checkpoints import commit_at
from tests.support.small_store import RUN, make_store

pytestmark = pytest.mark.slow


def test_the_newest_event_is_one_of_the_documents_it_was_given(tmp_path: Path) -> None:
    store = Store.open(make_store(tmp_path).store)
    lake, given = Lake(store), commit_at(RUN, 6, round_=1)
    fresh = Manifest.from_row(lake.rounds(RUN, 0), 0).fresh
    log = lake.documents(0, lake.last_window(), ["id", "event_time", "window", "position"], ["kept"])
    places = set(zip(fresh.windows.tolist(), fresh.positions.tolist(), strict=True))
    mine = [(w, p) in places for w, p in zip(log["window"].to_pylist(), log["position"].to_pylist(), strict=True)]
    newest = pc.max(log["event_time"].filter(pa.array(mine)).cast(pa.int64())).as_py() * 1e-6
    assert newest_event_s(lake, given) == pytest.approx(newest)
    later = pc.max(log["event_time"].cast(pa.int64())).as_py() * 1e-6
    assert newest < later, "what waits in the log makes no checkpoint newer"
