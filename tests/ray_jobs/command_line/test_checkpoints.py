"""Are checkpoints found by what a person types?"""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.storage.store import Store
from ray_jobs.__main__ import app
from ray_jobs.outcome import ConfigError


def test_to_may_be_written_like_a_setting_and_the_checkpoints_of_the_run_that_was_asked_for_are_named(
    tmp_path: Path,
) -> None:
    store = Store.open(str(tmp_path))
    for run, step in (("mine", 14), ("quick", 8)):
        store.write(f"runs/{run}/checkpoints/{step:08d}.json", b"{}")
    words = ["promote", f"store={tmp_path}", "name=mine", "to=quick/99"]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception) == f"checkpoint quick/99 is not in {tmp_path}; of run quick there are quick/8"


@pytest.mark.parametrize("to", [[], ["--checkpoint", "mine/1"]])
def test_an_export_without_a_place_says_how_to_give_one(tmp_path: Path, to: list[str]) -> None:
    done = CliRunner().invoke(app, ["export", f"store={tmp_path}", *to])
    assert "--to is missing" in str(done.exception)
