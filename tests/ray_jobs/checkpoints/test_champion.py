"""Is a champion pointer that cannot be trusted ever taken for none, and does everything else go on?"""

from pathlib import Path

import pytest

from cluster.storage.seal import DamagedError
from cluster.storage.store import Store
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.champion import InService, may_be_champion, read_champion
from ray_jobs.checkpoints.retention import retain
from ray_jobs.commands.promote import promote_by_hand
from ray_jobs.config.schema import Config
from ray_jobs.registry.champion import champion_name, put_in_service
from ray_jobs.registry.judge import Candidate, judge
from ray_jobs.store.paths import CHAMPION, decision_path
from tests.support.checkpoints import commit_at

UNTRUSTED = [b"{}", b"[]", b"null", b"", b"false", b'{"checkpoint": ""}', b'{"checkpoint": 3}', b"\x00\x01", b'{"a']


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with five checkpoints; the second is in service."""
    store = Store.open(str(tmp_path))
    for step in range(1, 6):
        commits.publish(store, commit_at("news", step, 0, step))
    put_in_service(store, InService(checkpoint="news/00000002", decided=1.0))
    return store


@pytest.mark.parametrize("content", UNTRUSTED)
def test_nothing_is_judged_where_it_is_not_known_what_is_in_service(store: Store, content: bytes) -> None:
    store.write(CHAMPION, content)
    config = Config(store=store.uri, name="news")
    with pytest.raises(DamagedError, match=r"registry/champion\.json is damaged: .*headrace promote --to RUN/STEP"):
        judge(config, "{}", [Candidate(commits.load(store, "news", 5), {})])
    store.delete(CHAMPION)
    promote_by_hand(config, "news/00000005")
    assert champion_name(store) == "news/00000005", "the mend that the sentence names"


@pytest.mark.slow
def test_a_flipped_bit_never_names_another_checkpoint(store: Store) -> None:
    data = store.read(CHAMPION)
    for place in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        store.write(CHAMPION, bytes(flipped))
        try:
            found = read_champion(store)
        except DamagedError:
            continue
        assert found is not None and found.checkpoint == "news/00000002"


def test_without_a_pointer_that_can_be_trusted_what_may_be_in_service_stays(store: Store) -> None:
    config = Config(store=store.uri, name="news")
    promote_by_hand(config, "news/00000001")
    store.write(decision_path("news/00000003"), b"{}")
    store.write(CHAMPION, b"{}")
    assert [may_be_champion(store, f"news/{step:08d}") for step in range(1, 6)] == [True, False, True, False, False]
    assert retain(store, "news", keep=1) == [2, 4]
    assert commits.commits(store, "news") == [1, 3, 5]


def test_a_pointer_of_an_older_version_is_read(store: Store) -> None:
    store.write(CHAMPION, b'{"checkpoint": "news/00000002", "decided": 5.0, "previous": null, "last_window": 7}')
    assert read_champion(store) == InService(checkpoint="news/00000002", decided=5.0, last_window=7)
