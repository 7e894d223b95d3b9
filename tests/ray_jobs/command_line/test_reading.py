"""Which run does a command speak of, where none is named?"""

from pathlib import Path

import pytest

from cluster.storage.store import Store
from ray_jobs.command_line.reading import read, read_as_written, read_run
from ray_jobs.outcome import ConfigError


def store_with(folder: Path, *runs: str) -> list[str]:
    """A store in which runs left something; the override that names it."""
    store = Store.open(str(folder))
    for run in runs:
        store.write(f"runs/{run}/config.json", b"{}")
    return [f"store={folder}"]


def test_the_only_run_of_a_store_is_meant_where_none_is_named(tmp_path: Path) -> None:
    assert read_run(None, store_with(tmp_path, "mine", "mine@00000014")).name == "mine"


def test_several_runs_are_named_to_choose_from(tmp_path: Path) -> None:
    overrides = store_with(tmp_path, "old", "new")
    with pytest.raises(ConfigError, match=r"has 2 runs: new, old; name one, for example name=new"):
        read_run(None, overrides)
    assert read_run(None, [*overrides, "name=old"]).name == "old"


def test_a_name_that_is_no_run_is_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no run name=nosuch; it has mine"):
        read_run(None, [*store_with(tmp_path, "mine"), "name=nosuch"])


def test_an_empty_store_leaves_the_name_as_it_is(tmp_path: Path) -> None:
    assert read_run(None, store_with(tmp_path)).name == "headrace"


def test_who_only_looks_needs_no_folder_that_a_run_began_with(tmp_path: Path) -> None:
    missing = [f"store={tmp_path}/lake", "model.from=./nowhere"]
    assert read_as_written([], missing).model.start == "./nowhere"
    with pytest.raises(ConfigError, match="is no folder"):
        read([], missing)
