"""Is there a report of a run at any time?"""

import json
from pathlib import Path

import pytest

from cluster.storage.store import Store
from data_ops.lake.lake import Lake
from ray_jobs.commands.report import rewrite_report
from ray_jobs.config.reading import read_config
from ray_jobs.config.schema import Config
from ray_jobs.outcome import ConfigError
from ray_jobs.store.lease import Heart, acquire
from ray_jobs.training.events import Started, StepDone, event_to_row
from tests.support.lakes import add_window, fill_lake, make_documents, make_lake


@pytest.fixture
def run(tmp_path: Path) -> Config:
    """A run that has trained two steps, committed nothing and not ended."""
    config = read_config([], [f"store={tmp_path}", "name=mine"])
    fill_lake(make_lake(tmp_path), [["kept", "held_out"]])
    events = [Started(step=0, workers=1), StepDone(step=1, loss=9.0, seconds=1.0), StepDone(step=2, loss=8.5)]
    lines = "\n".join(json.dumps(event_to_row(event)) for event in events)
    store = Store.open(config.store)
    store.write("runs/mine/metrics.jsonl", lines.encode())
    store.write("runs/mine/config.json", json.dumps(config.model_dump(mode="json") | {"seed": 77}).encode())
    return config


def test_a_run_that_is_live_has_a_report_that_says_so(run: Config) -> None:
    store = Store.open(run.store)
    heart = Heart(store, acquire(store, "mine"))
    try:
        place = rewrite_report(run)
    finally:
        heart.release()
    page = Path(place).read_text(encoding="utf-8")
    assert "Running: 0 steps in 0 rounds are committed; no candidate was judged yet." in page
    assert "77" in page, "the configuration is that of the run"
    assert "0 tokens/s" not in page


def test_a_run_that_was_killed_before_it_summed_up_has_a_report(run: Config) -> None:
    assert "was not promoted: nothing new was trained to the end" in Path(rewrite_report(run)).read_text("utf-8")


def test_what_rules_took_out_has_a_section_only_where_there_is_something(run: Config) -> None:
    title = "<h2>What each rule takes out</h2>"
    assert title not in Path(rewrite_report(run)).read_text("utf-8")
    add_window(Lake(Store.open(run.store)), make_documents(1, ["kept", "dropped", "quarantined"], 2))
    page = Path(rewrite_report(run)).read_text("utf-8")
    assert title in page and "<td>too short<small>texts of fewer than" in page and "<script" not in page


def test_a_summary_that_says_nothing_is_made_anew(run: Config) -> None:
    Store.open(run.store).write("runs/mine/summary.json", b"{}")
    assert "was not promoted: nothing new was trained to the end" in Path(rewrite_report(run)).read_text("utf-8")


def test_a_run_without_an_event_has_nothing_to_report(tmp_path: Path) -> None:
    make_lake(tmp_path)
    with pytest.raises(ConfigError, match=r"run mine in .* has written nothing yet; start it with `headrace run`"):
        rewrite_report(read_config([], [f"store={tmp_path}", "name=mine"]))
