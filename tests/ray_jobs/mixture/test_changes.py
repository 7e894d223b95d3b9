"""Does `headrace mix` make of a mixture what was typed, and refuse in a sentence what cannot be?"""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.storage.store import Store
from data_ops.mixing.versions import versions
from ray_jobs.__main__ import app
from ray_jobs.outcome import ConfigError
from tests.support.lakes import add_window, make_documents, make_lake

pytestmark = pytest.mark.slow

WIDE = {"COLUMNS": "200"}


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A store with documents of two sources and a run that has not planned anything."""
    lake = make_lake(tmp_path)
    add_window(lake, make_documents(0, ["kept"] * 30, source="web"))
    add_window(lake, make_documents(1, ["kept"] * 10, 30, source="wiki"))
    recorded = {"sources": {"web": {}, "wiki": {}, "code": {}}, "round": {"replay_share": 0.5}}
    lake.store.write("runs/mine/config.json", json.dumps(recorded).encode())
    return f"store={tmp_path}"


def mix(*words: str) -> dict[str, object]:
    done = CliRunner().invoke(app, ["mix", *words, "--json"], env=WIDE)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    told: dict[str, object] = json.loads(done.output.strip().splitlines()[-1])
    return told


def shares(store: str) -> object:
    return versions(Store.open(store.partition("=")[2]), "mine")[-1].rule.shares


def test_shares_are_set_added_and_removed_and_the_others_keep_their_proportions(store: str) -> None:
    assert mix("set", "web=75%", "wiki=0.25", store)["version"] == 0
    assert shares(store) == {"web": 0.75, "wiki": 0.25}
    mix("add", "code=0.2", store)
    assert shares(store) == pytest.approx({"web": 0.6, "wiki": 0.2, "code": 0.2})
    told = mix("remove", "web", store)
    assert told["mixture"] == {"shares": {"wiki": 0.2, "code": 0.2}, "removed": ["web"]} and told["why"] == "remove web"
    mix("add", "web=0.5", store)
    assert shares(store) == pytest.approx({"wiki": 0.25, "code": 0.25, "web": 0.5})
    assert mix("show", store)["removed"] == []


def test_a_source_is_paused_and_resumed_with_its_share(store: str) -> None:
    mix("set", "web=3", "wiki=1", store)
    mix("pause", "web", store)
    assert mix("show", store)["shares"] == {"wiki": 1.0}
    mix("resume", "web", store)
    assert mix("show", store)["shares"] == {"web": 0.75, "wiki": 0.25}


def test_orders_floor_and_replay_are_set(store: str) -> None:
    mix("set", "proportional", "--floor", "0.1", "--replay-share", "0.4", "--from-round", "9", store)
    told = mix("show", store)
    assert (told["kind"], told["replay_share"]) == ("proportional", 0.4)
    mix("set", "log", store)
    assert mix("show", store)["kind"] == "log" and mix("show", store)["replay_share"] == 0.4


def test_limits_of_replay_are_set_for_all_sources_and_for_one(store: str) -> None:
    assert mix("set", "--max-repeats", "4", store)["why"] == "set --max-repeats 4"
    assert mix("show", store)["max_repeats"] == 4
    mix("set", "web=1", "wiki=1", "--max-repeats", "web=2", "--max-repeats", "wiki=8", store)
    mix("set", "--max-repeats", "web=none", store)
    assert mix("show", store)["max_repeats"] == {"wiki": 8}
    mix("set", "--max-repeats", "none", store)
    assert mix("show", store)["max_repeats"] is None


def test_a_schedule_is_read_as_it_is_written(store: str) -> None:
    told = mix("schedule", "0:web=1", "+2k:web=0.5,wiki=0.5", store)
    stages = [{"at": 0, "shares": {"web": 1.0}}, {"at": 2000, "shares": {"web": 0.5, "wiki": 0.5}}]
    assert told["mixture"] == {"schedule": stages}
    with pytest.raises(ConfigError, match="write it anew"):
        mix("add", "code=0.1", store)


def test_plan_tells_how_long_each_source_lasts(store: str) -> None:
    mix("set", "web=1", "wiki=1", store)
    mix("pause", "wiki", store)
    sources = mix("plan", store)["sources"]
    assert isinstance(sources, dict)
    assert sources["wiki"]["until"] is None and sources["wiki"]["waiting"] > 0
    assert sources["web"]["tokens"] == 2 * sources["web"]["waiting"], "half of what is trained is replayed"
    plain = CliRunner().invoke(app, ["mix", "plan", store], env=WIDE).output
    assert "is not trained: paused" in plain and "lasts for" in plain


def test_show_tells_people_what_waits(store: str) -> None:
    mix("set", "web=1", "wiki=3", store)
    plain = CliRunner().invoke(app, ["mix", "show", store], env=WIDE).output
    assert "version 0 is in force from round 0 on: set web=1 wiki=3" in plain
    assert "share   75 %" in plain or "share  75 %" in plain


def test_what_the_run_was_started_with_is_what_the_first_change_changes(store: str) -> None:
    at = Store.open(store.partition("=")[2])
    recorded = {"sources": {"web": {}, "wiki": {}}, "mixture": {"shares": {"web": 0.5, "wiki": 0.5}}}
    at.write("runs/mine/config.json", json.dumps(recorded).encode())
    mix("pause", "wiki", store)
    assert [(one.by, one.rule.paused) for one in versions(at, "mine")] == [
        ("configuration", ()),
        ("command", ("wiki",)),
    ]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("set",), "say what to set"),
        (("set", "web"), "'web' is no share"),
        (("set", "web=1", "news=1"), "no source news; there are code, web, wiki"),
        (("pause", "wbe"), "no source wbe"),
        (("pause",), "say which source"),
        (("resume", "web"), "web is not paused; paused is nothing"),
        (("remove", "web", "wiki"), "nothing is left"),
        (("add", "code=1"), "leaves nothing"),
        (("schedule", "soon"), "is no stage"),
        (("schedule", "5:web=1", "5:wiki=1"), "put them in order"),
        (("set", "--floor", "0.9"), "more than there is"),
        (("set", "--max-repeats", "often"), "--max-repeats often is no number of times"),
        (("set", "--max-repeats", "news=3"), "no source news"),
        (("set", "--max-repeats", "3", "--max-repeats", "web=3"), "write SOURCE=TIMES for each"),
    ],
)
def test_a_mistake_is_answered_with_the_mend(store: str, words: tuple[str, ...], why: str) -> None:
    mix("set", "web=1", "wiki=1", store)
    with pytest.raises(ConfigError, match=why):
        mix(*words, store)
    assert len(versions(Store.open(store.partition("=")[2]), "mine")) == 1, "nothing was written"


def test_a_run_that_sheds_by_backlog_has_no_mixture(store: str) -> None:
    at = Store.open(store.partition("=")[2])
    at.write("runs/mine/config.json", json.dumps({"round": {"max_backlog_tokens": 9}, "sources": {"web": {}}}).encode())
    with pytest.raises(ConfigError, match="max_backlog_tokens=9"):
        mix("set", "web=1", store)
