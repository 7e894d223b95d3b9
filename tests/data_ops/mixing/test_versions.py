"""Is the mixture in force the one that was written last, whoever wrote, and is a damaged one never taken?"""

import threading

import pytest

from cluster.storage.seal import DamagedError
from cluster.storage.store import Store
from data_ops.mixing.config import MixtureConfig
from data_ops.mixing.versions import MixtureVersion, configure, newest, publish_version, version_for, versions

A, B = MixtureConfig(shares={"a": 1}), MixtureConfig(shares={"a": 1, "b": 1}, floor=0.1, paused=("b",))


@pytest.fixture
def store(tmp_path):
    return Store.open(str(tmp_path))


def test_a_version_reads_as_it_was_written(store):
    written = MixtureVersion(version=0, mixture=B, from_round=7, why="add b=0.5", written_s=12.0)
    assert version_for(store, "r", 9) is None
    assert publish_version(store, "r", written)
    assert versions(store, "r") == [written]
    assert version_for(store, "r", 7) == written and version_for(store, "r", 6) is None


def test_a_number_is_written_once(store):
    assert publish_version(store, "r", MixtureVersion(version=0, mixture=A))
    assert not publish_version(store, "r", MixtureVersion(version=0, mixture=B))
    assert newest(store, "r").mixture == A


def test_the_newest_version_whose_round_has_come_is_in_force(store):
    for number, from_round in enumerate([0, 10, 4]):
        publish_version(store, "r", MixtureVersion(version=number, mixture=A, from_round=from_round))
    assert [version_for(store, "r", n).version for n in (0, 3, 4, 9, 10, 11)] == [0, 0, 2, 2, 2, 2]


def test_the_configuration_counts_when_it_is_changed_and_not_at_every_start(store):
    assert configure(store, "r", None, 0) is None, "no mixture, no version"
    assert configure(store, "r", A, 3).version == 0
    publish_version(store, "r", MixtureVersion(version=1, mixture=B))
    assert configure(store, "r", A, 5) is None, "what the command has changed since stays"
    made = configure(store, "r", None, 6)
    assert (made.version, made.mixture, made.from_round) == (2, None, 6)
    assert made.rule == MixtureConfig()
    assert configure(store, "r", None, 7) is None


def test_of_many_who_write_at_once_each_gets_a_number(store):
    def write():
        configure(store, "r", A, 0)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.version for one in versions(store, "r")] == [0], "all of them said the same"


def test_a_damaged_version_is_told_and_never_taken(store, tmp_path):
    publish_version(store, "r", MixtureVersion(version=0, mixture=A))
    path = tmp_path / "runs/r/mixture/00000000.json"
    path.write_text(path.read_text().replace('"a": 1', '"a": 2'))
    with pytest.raises(DamagedError, match=r"00000000\.json.*mixture is in force"):
        version_for(store, "r", 0)
