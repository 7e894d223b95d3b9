"""Which checkpoints had seen a document, also those that nobody came to note?"""

import pytest
from msgspec.structs import replace

from cluster.storage.state import publish_json
from cluster.storage.store import Store
from data_ops.audit.sightings import Sighting
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.ledger import record
from ray_jobs.origin.record import Origin
from ray_jobs.registry.exposure import champion_seen, seen_by
from ray_jobs.store.lease import acquire
from ray_jobs.store.paths import CHAMPION
from tests.support.checkpoints import commit_at
from tests.support.lakes import make_lake

AT_STEP_3 = Sighting("news", 0, "fresh", 0, (2,))  # in the third step of round 0


@pytest.fixture
def lake(tmp_path):
    """A lake whose run `news` has a checkpoint at step 5, noted, and one of its decay branch, which is not."""
    lake = make_lake(tmp_path)
    lease = acquire(lake.store, "news")
    for run, step, noted in (("news", 2, True), ("news", 5, True), ("news@00000005", 1, False)):
        done = commit_at(run, step, 0, step)
        assert commits.publish(lake.store, done)
        if noted:
            record(lake, done, lease)
    return lake


def names(store, lake, *found):
    return [(seen.checkpoint, seen.kept, seen.committed is None) for seen in seen_by(store, lake, list(found))]


def test_a_branch_that_was_committed_and_not_noted_had_seen_what_its_main_line_had(lake):
    store: Store = lake.store
    assert names(store, lake, AT_STEP_3) == [("news/00000005", True, False), ("news@00000005/00000001", True, True)]
    store.write(CHAMPION, b'{"checkpoint": "news@00000005/00000001"}')
    assert champion_seen(store, seen_by(store, lake, [AT_STEP_3]))["seen"] is True


def test_a_manifest_that_cannot_be_read_is_passed_over(lake):
    lake.store.write("runs/news@00000005/checkpoints/00000001.json", b"{")
    assert names(lake.store, lake, AT_STEP_3) == [("news/00000005", True, False)]


def begin(store, run, base, copied_from):
    """A run begins with a copy of a checkpoint, and commits once."""
    commits.publish(store, commit_at(base, 0))
    origin = Origin(named="x", checkpoint=f"{base}/00000000", sha256="", tokenizer="", brings_tokenizer=False)
    publish_json(store, f"runs/{run}/origin.json", replace(origin, copied_from=copied_from))
    commits.publish(store, commit_at(run, 1, 0, 1))


def test_a_run_that_began_with_such_weights_has_seen_it_through_any_number_of_beginnings(lake):
    store: Store = lake.store
    begin(store, "second", "base@1111", "news/00000005")
    begin(store, "third", "base@abcd", "second/00000001")
    begin(store, "early", "base@ef01", "news/00000002")  # before the document was trained
    begin(store, "folder", "base@2222", None)
    begin(store, "again", "base@1111", "base@1111/00000000")  # equal weights are one copy, which may name itself
    mine = {name.partition("/")[0] for name, _, _ in names(store, lake, AT_STEP_3)}
    assert mine == {"news", "news@00000005", "second", "base@1111", "third", "base@abcd", "again"}
    store.write(CHAMPION, b'{"checkpoint": "third/00000001"}')
    assert champion_seen(store, seen_by(store, lake, [AT_STEP_3]))["seen"] is True
