"""Do all trials of a sweep start from the same weights, whatever becomes of the run they were taken from?"""

import json
from dataclasses import replace

import pytest

from cluster.storage.store import Store
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.files import fetch_files
from ray_jobs.checkpoints.retention import retain
from ray_jobs.config.reading import check
from ray_jobs.outcome import ConfigError
from ray_jobs.sweep import start
from ray_jobs.sweep.question import fix_question, question
from ray_jobs.sweep.start import pin, starting_point
from ray_jobs.sweep.trial.job import start_run
from tests.ray_jobs.checkpoints.test_manifest import save
from tests.support.checkpoints import state_at
from tests.support.folders import config_of, folder_of, taken

SWEEP = "news@sweep"


@pytest.fixture
def store(tmp_path):
    return Store.open(str(tmp_path))


def asking(store, start="latest", **more):
    return check({"name": "news", "store": store.uri, "sweep": {"start": start, "space": {"optim.lr": [0.1]}}, **more})


def train(store, step):
    """The run commits at a step, and retention deletes what is older."""
    done, _ = save(store, step, published=False)
    state = state_at(step, tokens=64 * step, model=asking(store).model.model_dump(mode="json"))
    commits.publish(store, replace(done, state=state))
    retain(store, "news", 1)


def begun(store, start):
    """The sweep has written down what it works with."""
    store.write(f"runs/{SWEEP}/job.json", json.dumps({"start": start.name if start else None}).encode())


def test_the_start_outlives_the_checkpoint_it_was_copied_from(store):
    train(store, 12)
    start = pin(store, asking(store))
    assert (start.name, start.round, start.step_in_round) == ("news/00000012", 1, 2)
    train(store, 27)
    assert commits.commits(store, "news") == [27]
    kept = commits.newest_readable(store, start_run(SWEEP))
    assert [store.read(file.path) for file in kept.files] == [
        f"weights of rank {r} at step 12 of a1".encode() for r in (0, 1)
    ]


def test_a_sweep_that_starts_from_states_of_an_optimizer_has_that_one_alone(store):
    train(store, 12)
    for optimizers in ({"optim": {"kind": "lion"}}, {"sweep": {"start": "latest", "space": {"optim.kind": ["lion"]}}}):
        with pytest.raises(ConfigError, match=r"holds the states of adamw; set optim\.kind=adamw, or use sweep"):
            starting_point(store, check({**asking(store).model_dump(mode="json"), **optimizers}))


@pytest.mark.parametrize("name", ["latest", "champion"])
def test_a_sweep_goes_on_from_where_it_began_though_latest_and_champion_are_others_now(store, name):
    def serve(step):
        store.write("registry/champion.json", json.dumps({"checkpoint": f"news/{step:08d}"}).encode())

    train(store, 12)
    serve(12)
    config = asking(store, name)
    start = pin(store, config)
    fix_question(store, SWEEP, question(config, start))
    begun(store, start)
    train(store, 27)
    serve(27)
    assert starting_point(store, config) == pin(store, config) == start
    fix_question(store, SWEEP, question(config, starting_point(store, config)))
    with pytest.raises(ConfigError, match=r"sweep.start=scratch differs from"):
        fix_question(store, SWEEP, question(asking(store, "scratch"), starting_point(store, asking(store, "scratch"))))


def test_until_a_sweep_has_begun_it_takes_what_is_newest(store):
    train(store, 12)
    pin(store, asking(store))
    train(store, 27)
    assert pin(store, asking(store)).name == "news/00000027"
    assert commits.commits(store, start_run(SWEEP)) == [27]
    assert len([path for path in store.list(f"runs/{SWEEP}/start") if path.endswith(".safetensors")]) == 2
    assert pin(store, asking(store, "scratch")) is None


def test_a_checkpoint_that_is_deleted_while_it_is_copied_makes_room_for_the_next(store, monkeypatch):
    train(store, 12)

    def too_late(store, commit, scratch):
        train(store, 27)
        monkeypatch.setattr(start, "fetch_files", fetch_files)
        return fetch_files(store, commit, scratch)

    monkeypatch.setattr(start, "fetch_files", too_late)
    assert pin(store, asking(store)).name == "news/00000027"


def test_a_start_that_cannot_be_copied_or_is_gone_is_told(store):
    train(store, 12)
    store.delete(commits.load(store, "news", 12).files[1].path)
    with pytest.raises(
        ConfigError, match=r"start=latest is checkpoint news/00000012, which is not whole .*use another"
    ):
        pin(store, asking(store))
    train(store, 27)
    begun(store, pin(store, asking(store)))
    store.delete(f"runs/{SWEEP}/start")
    with pytest.raises(ConfigError, match=r"weights of news/00000027, from which sweep news@sweep starts, are gone"):
        starting_point(store, asking(store))


def test_a_question_that_could_not_be_answered_may_be_asked_otherwise(store):
    fix_question(store, SWEEP, question(asking(store, "scratch", seed=1), None))
    fix_question(store, SWEEP, question(asking(store, "scratch", seed=2), None))
    begun(store, None)
    with pytest.raises(ConfigError, match="seed=3 differs from 2, with which sweep news@sweep was begun"):
        fix_question(store, SWEEP, question(asking(store, "scratch", seed=3), None))


def test_a_sweep_from_scratch_begins_with_the_weights_that_its_run_began_with(tmp_path):
    folder_of(tmp_path / "base")
    config = config_of(tmp_path, "sweep={space: {optim.lr: [0.1]}}")
    lake = Store.open(config.store)
    with pytest.raises(ConfigError, match=r"run mine has not begun with these weights; run it once"):
        starting_point(lake, config)
    lake, name = taken(tmp_path)
    assert starting_point(lake, config).name == name
    copied = pin(lake, config)
    assert (copied.name, copied.state.position.tokens) == (name, 0)
