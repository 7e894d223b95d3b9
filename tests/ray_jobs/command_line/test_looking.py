"""What do the commands say that look into a store?"""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.storage.store import Store
from ray_jobs.__main__ import app
from ray_jobs.commands.status import RunStatus, status_lines
from ray_jobs.outcome import ConfigError
from tests.support.lakes import fill_lake, make_lake


@pytest.fixture
def lake(tmp_path: Path) -> str:
    """A store with two documents and one run, of which nothing is trained yet."""
    store = Store.open(str(tmp_path))
    fill_lake(make_lake(tmp_path), [["kept", "kept"]])
    store.write("runs/mine/config.json", b"{}")
    return f"store={tmp_path}"


def test_verify_finds_the_only_run_and_says_in_words_that_it_is_proved(lake: str) -> None:
    done = CliRunner().invoke(app, ["verify", lake])
    assert done.exit_code == 0, done.output
    assert " proved   run mine in " in done.output
    assert done.output.rstrip().endswith("every document read is accounted for, none lost, none repeated")


def test_status_tells_how_long_ago_in_the_unit_of_people() -> None:
    run: RunStatus = {
        "name": "mine",
        "driver": None,
        "died": None,
        "last_beat_s_ago": None,
        "step": 7,
        "round": 1,
        "tokens": 448,
        "checkpoint": None,
        "committed_s_ago": 2074.0,
        "loss": None,
        "freshness_s": None,
        "from_event_s": {},
        "slo": {},
        "judged": None,
        "drift": [],
    }
    lines = status_lines(
        {"store": "./lake", "windows": 3, "champion": None, "runs": [run], "sweeps": [], "damaged": []}
    )
    assert "committed 35 min ago" in lines[1]


def test_a_store_that_is_none_is_told_and_not_shown_as_an_empty_one(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["status", f"store={tmp_path}/nolake"]).exception
    assert isinstance(told, ConfigError) and "nolake is no store; correct store=" in str(told)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "--dryrun"], "--dryrun is no option of this command; did you mean --dry-run?"),
        (["verify", "--jsn"], "--jsn is no option of this command; did you mean --json?"),
        (["status", "--frobnicate"], "--frobnicate is no option of this command; `headrace COMMAND --help` shows them"),
    ],
)
def test_a_mistyped_option_is_told_with_the_one_that_was_meant(arguments: list[str], told: str) -> None:
    assert str(CliRunner().invoke(app, arguments).exception).startswith(told)


def test_status_names_the_sweeps_of_a_store(lake: str) -> None:
    store = Store.open(lake.partition("=")[2])
    store.write("runs/mine@sweep/question.json", b"{}")
    assert "sweep     mine@sweep   begun" in CliRunner().invoke(app, ["status", lake]).output
    store.write("runs/mine@sweep/summary.json", b"{}")
    assert "sweep     mine@sweep   ended" in CliRunner().invoke(app, ["status", lake]).output
