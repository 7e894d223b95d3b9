"""Is what goes into service there, judged against what was in service, and put there by who still may?"""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cluster.storage.store import Store
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.champion import read_champion
from ray_jobs.commands.promote import promote_by_hand
from ray_jobs.config.schema import Config
from ray_jobs.evaluation.gate import Decision
from ray_jobs.outcome import ConfigError
from ray_jobs.registry import judge as module
from ray_jobs.registry.champion import Verdict, champion_name, decision_path
from ray_jobs.registry.judge import judge_and_promote
from tests.support.checkpoints import commit_at

NONE = pa.table({"id": [], "slice": [], "num_bytes": [], "nats": []})


def commit(store: Store, run: str, step: int) -> commits.Commit:
    """A checkpoint of which only the manifest matters here."""
    done = commit_at(run, step, 0, step)
    assert commits.publish(store, done)
    return done


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path))


@pytest.fixture
def config(store: Store) -> Config:
    return Config(store=store.uri, name="news")


def judged(
    monkeypatch: pytest.MonkeyPatch, store: Store, meanwhile: list[Any], promoted: bool = True
) -> list[str | None]:
    """Let the judge say yes; what happens while it judges is `meanwhile`, one a time. Returns the champions it saw."""
    seen: list[str | None] = []

    def judge(*given: Any) -> Verdict:
        seen.append(champion_name(store))
        if meanwhile:
            meanwhile.pop(0)()
        return Verdict(Decision(promoted, ["why"]), NONE, NONE, seen[-1], seen[-1])

    monkeypatch.setattr(module, "judge", judge)
    return seen


def test_the_better_one_goes_into_service_and_the_decision_is_kept(
    store: Store, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = commit(store, "news", 5)
    judged(monkeypatch, store, [])
    judge_and_promote(config, "{}", done, {})
    assert champion_name(store) == done.name
    assert store.exists(decision_path(done))


def test_a_champion_that_changed_meanwhile_is_judged_against(
    store: Store, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = commit(store, "news", 5), commit(store, "wire", 7)
    seen = judged(monkeypatch, store, [lambda: promote_by_hand(config, other.name)])
    verdict = judge_and_promote(config, "{}", mine, {})
    assert seen == [None, other.name]
    assert (verdict.champion, champion_name(store)) == (other.name, mine.name)
    champion = read_champion(store)
    assert champion is not None and champion["previous"] == other.name


@pytest.mark.parametrize("before", [None, "wire/00000007"])
def test_what_was_let_go_while_it_was_judged_does_not_go_into_service(
    store: Store, config: Config, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    commit(store, "wire", 7)
    if before:
        promote_by_hand(config, before)
    done = commit(store, "news", 5)
    judged(monkeypatch, store, [lambda: store.delete("runs/news/checkpoints/00000005.json")])
    with pytest.raises(ConfigError, match="news/00000005 was let go while it was judged"):
        judge_and_promote(config, "{}", done, {})
    assert champion_name(store) == before
    assert not store.exists(decision_path(done))


def test_who_lost_the_run_while_it_was_judged_promotes_nothing(
    store: Store, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = commit(store, "news", 5)
    judged(monkeypatch, store, [])
    with pytest.raises(RuntimeError, match="taken over"):
        judge_and_promote(config, "{}", done, {}, held=lambda: False)
    assert champion_name(store) is None


def test_what_is_in_service_unjudged_is_judged_against_what_was_there_before(
    store: Store, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that was killed between pointer and verdict: the next one must not compare with the untrained model."""
    old, new = commit(store, "news", 5), commit(store, "news", 9)
    promote_by_hand(config, old.name)
    promote_by_hand(config, new.name)
    asked: list[str | None] = []
    monkeypatch.setattr(module, "scores_of", lambda config, tokenizer, name: asked.append(name) or NONE)
    monkeypatch.setattr(module, "fresh_slices", lambda *given: set())
    monkeypatch.setattr(module, "decide", lambda *given, **more: Decision(True, ["why"]))
    judge_and_promote(config, "{}", new, {})
    assert asked == [new.name, old.name]
    kept = json.loads(store.read(decision_path(new)))
    assert (kept["checkpoint"], kept["previous"], champion_name(store)) == (new.name, old.name, new.name)


def test_a_champion_that_somebody_deleted_is_said_in_a_sentence(store: Store, config: Config) -> None:
    gone = commit(store, "wire", 7)
    promote_by_hand(config, gone.name)
    store.delete("runs/wire/checkpoints/00000007.json")
    with pytest.raises(ConfigError, match=r"the champion wire/00000007 is no longer in .*headrace promote --to"):
        module.judge(config, "{}", commit(store, "news", 5))
