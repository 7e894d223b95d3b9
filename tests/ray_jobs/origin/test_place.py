"""Is what `model.from` names found, offline too, and is what is nowhere said in a sentence?"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.storage.store import Store
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.origin.place import Checkpoint, Folder, place_of
from ray_jobs.outcome import ConfigError
from tests.support.checkpoints import commit_at
from tests.support.folders import folder_of
from tests.support.root import ROOT

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "lake"))


def test_a_folder_is_a_folder(tmp_path: Path, store: Store) -> None:
    folder_of(tmp_path / "base")
    assert place_of(str(tmp_path / "base"), store) == Folder(tmp_path / "base")


def test_a_checkpoint_is_found_in_this_store_and_in_another(tmp_path: Path, store: Store) -> None:
    other = Store.open(str(tmp_path / "other"))
    for where in (store, other):
        commits.publish(where, commit_at("news", 12))
    ours, theirs = place_of("news/12", store), place_of(f"{other.uri}#news/00000012", store)
    assert isinstance(ours, Checkpoint) and isinstance(theirs, Checkpoint)
    assert (ours.store, ours.commit.name, ours.is_ours) == (store, "news/00000012", True)
    assert (theirs.store, theirs.commit.name, theirs.is_ours) == (other, "news/00000012", False)


LOOK = """
import sys
from cluster.storage.store import Store
from ray_jobs.origin.place import place_of
for name in sys.argv[2:]:
    try:
        print(place_of(name, Store.open(sys.argv[1])).path)
    except ValueError as error:
        print(error)
"""


@pytest.mark.slow
def test_a_model_of_the_hub_is_found_in_its_cache_without_a_network(tmp_path: Path, store: Store) -> None:
    pytest.importorskip("huggingface_hub")
    kept = tmp_path / "hub/models--acme--small"
    folder_of(kept / "snapshots" / REVISION)
    (kept / "refs").mkdir()
    (kept / "refs/main").write_text(REVISION)
    names = ("acme/small", f"acme/small@{REVISION}", "acme/large")
    offline = os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}  # read when it is imported
    told = subprocess.check_output([sys.executable, "-c", LOOK, store.uri, *names], env=offline, cwd=ROOT, text=True)
    first, second, missing = told.splitlines()
    assert first == second == str(kept / "snapshots" / REVISION)
    assert missing.startswith("model.from=acme/large is no folder here, and the hub does not give it (LocalEntry")


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ("champion", "model.from=champion, but no checkpoint of .*lake is in service; name one: RUN/STEP"),
        ("news/12", "model.from=news/12 is no checkpoint of .*lake; of run news there are none"),
        ("./nowhere", r"model.from=\./nowhere is no folder; name a Hugging Face folder"),
        ("/no/where/at/all", "is no folder; name a Hugging Face folder"),
        ("a--b", "model.from=a--b is no folder, no checkpoint and no name of the hub; correct it"),
    ],
)
def test_what_is_nowhere_is_refused(store: Store, start: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        place_of(start, store)


def test_a_file_is_no_folder(tmp_path: Path, store: Store) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(ConfigError, match=r"model\.gguf is a file; name a Hugging Face folder"):
        place_of(str(tmp_path / "model.gguf"), store)
