"""Are the weights that a run began with a fact of it?"""

import os
from pathlib import Path

import pytest

from cluster.storage.store import Store
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.driver.preflight import check_origin
from ray_jobs.outcome import ConfigError
from tests.support.checkpoints import commit_at
from tests.support.folders import config_of, folder_of, taken


def test_a_run_goes_on_when_its_folder_is_gone_or_was_only_touched(tmp_path: Path) -> None:
    folder_of(tmp_path / "base")
    store, name = taken(tmp_path)
    os.utime(tmp_path / "base/model.safetensors", ns=(1, 1))
    assert taken(tmp_path) == (store, name)
    config = config_of(tmp_path)
    (tmp_path / "base").rename(tmp_path / "away")
    assert config_of(tmp_path) == config
    assert taken(tmp_path) == (store, name)


def test_a_run_whose_base_was_changed_or_is_another_is_refused(tmp_path: Path) -> None:
    folder_of(tmp_path / "base")
    folder_of(tmp_path / "second", seed=6)
    taken(tmp_path)
    with pytest.raises(ConfigError, match=r"model\.from=.*second differs from .*base, with which run mine began; set"):
        check_origin(config_of(tmp_path, f"model.from={tmp_path}/second"))
    folder_of(tmp_path / "base", seed=6)
    changed = r"model\.from=.*base holds weights [0-9a-f]{12} now, run mine began with [0-9a-f]{12}; put them back"
    with pytest.raises(ConfigError, match=changed):
        check_origin(config_of(tmp_path))


def test_a_run_that_began_with_random_weights_takes_no_others(tmp_path: Path) -> None:
    folder_of(tmp_path / "base")
    commits.publish(Store.open(f"{tmp_path}/lake"), commit_at("mine", 3))
    with pytest.raises(ConfigError, match=r"model\.from=.*base, and run mine began with random weights; leave it out"):
        check_origin(config_of(tmp_path))
