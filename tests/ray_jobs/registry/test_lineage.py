"""Does a champion's lineage name the rounds and windows that are in its weights, and is a run's id its own for good?"""

import pytest

from cluster.storage.state import write_json
from cluster.storage.store import Store
from data_ops.documents.place import Documents, Place
from data_ops.lake.lake import Lake
from data_ops.rounds.manifest import Manifest
from ray_jobs.checkpoints.manifest import publish
from ray_jobs.checkpoints.position import Judgement
from ray_jobs.registry.champion import put_in_service_by_hand
from ray_jobs.registry.lineage import in_service, lineage, rounds_of, tell_mlflow, tracking_id
from ray_jobs.store.paths import decision_path, run_path
from tests.support.checkpoints import commit_at

NONE = Documents.empty()
ENDS = [Place(1, 0), Place(1, 7), Place(4, 3)]  # of rounds 0, 1, 2


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = Store.open(str(tmp_path_factory.mktemp("lake")))
    lake = Lake(store)
    lake.create()
    for n, end in enumerate(ENDS):
        manifest = Manifest(n, Place(), end, 0, 5, 4, 64, "tokens", NONE, NONE, NONE)
        lake.add_round("news", n, manifest.to_row())
        lake.add_round("other", n, manifest.to_row() | {"fresh": None})
    return store


@pytest.mark.parametrize(
    ("number", "step_in_round", "rounds", "last_window"),
    [(1, 0, 1, 0), (1, 2, 2, 1), (2, 0, 2, 1), (2, 4, 3, 4), (3, 0, 3, 4), (0, 0, 0, -1)],
)
def test_rounds_and_windows_are_those_in_the_weights(store, number, step_in_round, rounds, last_window):
    told = rounds_of(Lake(store), "news", (number, step_in_round))
    assert told == {"rounds": rounds, "steps_of_last_round": step_in_round, "last_window": last_window}


def test_a_champion_names_the_checkpoint_it_left_also_if_that_was_let_go_since(store):
    candidate = commit_at("news@00000009", 12, 0, 3, judged=Judgement(9, 2, 900))
    facts = {"previous": None, "weights_sha256": "ab", "sample_fingerprint": "cd", "tokenizer": "ef", "decision": {}}
    write_json(store, decision_path(candidate.name), facts)
    told = lineage(store, candidate).facts
    assert (told["branch_of"], told["rounds"], told["last_window"]) == ("news/00000009", 2, 1)
    candidate = commit_at("news@00000009", 12, 0, 3)  # of an older version
    publish(store, commit_at("news", 9, 1, 0))
    assert lineage(store, candidate).facts["rounds"] == 1


def test_a_champion_is_told_however_it_came_into_service(tmp_path):
    store = Store.open(str(tmp_path / "lake"))
    Lake(store).create()
    told = []
    assert in_service(store) is None, "there is none yet"
    first, second = (commit_at("news", step, 0, 1) for step in (5, 9))
    for commit in (first, second):
        publish(store, commit)
        put_in_service_by_hand(store, commit.name, new_reference=False)
        told.append(in_service(store))
    facts = {"previous": None, "weights_sha256": "ab", "sample_fingerprint": "cd", "tokenizer": "ef", "decision": {}}
    write_json(store, decision_path(first.name), facts)
    put_in_service_by_hand(store, first.name, new_reference=False)
    told.append(in_service(store))
    names = [(one.checkpoint, one.previous, one.facts["weights_sha256"]) for one in told]
    assert names == [(first.name, None, None), (second.name, first.name, None), (first.name, second.name, "ab")]
    store.delete(run_path("news", "checkpoints/00000005.json"))
    tell_mlflow(store, "news")  # a checkpoint that is gone is told by the reader who needs it
    with pytest.raises(FileNotFoundError):
        in_service(store)


def test_a_run_keeps_its_id_and_another_store_makes_another(tmp_path):
    first, second = (Store.open(str(tmp_path / name)) for name in "ab")
    ids = {tracking_id(first, "news"), tracking_id(first, "news"), tracking_id(Store.open(first.uri), "news")}
    assert len(ids) == 1 and ids != {tracking_id(second, "news")} and ids.pop().startswith("news-")
    first.delete(run_path("news", "wandb.json"))
    assert tracking_id(first, "news") != tracking_id(second, "news")
