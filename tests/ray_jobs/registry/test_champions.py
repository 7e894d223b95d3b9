"""Is every champion of a store in the list of them, once, with when and by what, whatever kill came between?"""

from pathlib import Path

import pytest

from cluster.storage.seal import DamagedError
from cluster.storage.state import publish_json
from cluster.storage.store import Store
from ray_jobs.checkpoints.champion import read_champion
from ray_jobs.outcome import ConfigError
from ray_jobs.registry.champion import put_base_in_service, put_in_service_by_hand
from ray_jobs.registry.champions import champion_meant, champions
from ray_jobs.store.paths import FORMER, former_path
from tests.support.registry.champions import commit, promoted

LIVED = [
    ("base@12/00000000", "base"),
    ("news/00000005", "promoted"),
    ("news/00000007", "promoted"),
    ("news/00000003", "by hand"),
    ("news/00000005", "rollback"),
    ("news/00000007", "rollback"),
    ("news/00000005", "rollback"),
]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store whose champions were those of LIVED."""
    store = Store.open(str(tmp_path))
    commit(store, "base@12", 0)
    put_base_in_service(store, "base@12/00000000")
    for step in (3, 5, 7):
        done = commit(store, "news", step)
        if step > 3:
            promoted(store, done, f"step {step} is better")
    for name in ("news/00000003", "news/00000005", "news/00000007", "news/00000005"):
        put_in_service_by_hand(store, name, new_reference=False)
    return store


def lived(store: Store) -> list[tuple[str, str]]:
    return [(one.name, str(one.how)) for one in champions(store)]


def test_every_time_in_service_is_listed_with_what_it_came_by(store: Store) -> None:
    found = champions(store)
    assert lived(store) == LIVED and [one.number for one in found] == list(range(1, 8))
    assert [one.until_s for one in found] == [*(one.entry.decided for one in found[1:]), None]
    assert found[1].reason == "step 5 is better" and found[4].reason.startswith("moved back by hand")
    assert found[4].decision == found[1].decision and found[3].decision is None


def test_a_kill_before_the_pointer_moves_leaves_the_list_as_it_was(store: Store) -> None:
    present = read_champion(store)
    assert present is not None
    publish_json(store, former_path(present.checkpoint, present.decided), present)
    assert lived(store) == LIVED
    put_in_service_by_hand(store, "news/00000003", new_reference=False)
    assert lived(store) == [*LIVED, ("news/00000003", "rollback")]


def test_a_later_refusal_of_the_same_weights_takes_no_champion_away(store: Store) -> None:
    store.delete("registry/decisions/news-00000005.json")
    assert [name for name, _ in lived(store)] == [name for name, _ in LIVED]


def test_of_an_older_version_decisions_moves_and_names_are_left(store: Store) -> None:
    store.delete(FORMER)
    found = champions(store)
    assert [(one.name, str(one.how), bool(one.entry.decided)) for one in found] == [
        ("base@12/00000000", "base", False),
        ("news/00000005", "promoted", True),
        ("news/00000007", "promoted", True),
        ("news/00000003", "by hand", True),
        ("news/00000007", "rollback", True),
        ("news/00000005", "rollback", True),
    ]


def test_one_is_chosen_by_number_name_or_because_it_serves(store: Store) -> None:
    found = champions(store)
    picked = [champion_meant(found, name).number for name in (None, "2", "news/00000005", "news/7", "base@12/0")]
    assert picked == [7, 2, 7, 6, 1]
    with pytest.raises(ConfigError, match=r"news/4 is no champion of this store; there are 1 \(base@12/00000000\), 2"):
        champion_meant(found, "news/4")
    with pytest.raises(ConfigError, match="no checkpoint is in service yet; promote one"):
        champion_meant([], None)


def test_a_damaged_entry_is_told_and_not_passed_over(store: Store) -> None:
    path = store.list(FORMER)[1]
    store.write(path, store.read(path).replace(b"00000005", b"00000006"))
    with pytest.raises(DamagedError, match=path):
        champions(store)
