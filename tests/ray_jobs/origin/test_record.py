"""What is written down of a run's beginning, and read again?"""

from pathlib import Path

import pytest

from cluster.storage.seal import DamagedError
from cluster.storage.state import write_json
from cluster.storage.store import Store
from ray_jobs.origin.record import FolderFiles, Origin, files_path, read_files, read_origin

ORIGIN = Origin(named="a", checkpoint="base@1/00000000", sha256="2", tokenizer="3", brings_tokenizer=True)


def test_files_of_any_bytes_come_back(tmp_path: Path) -> None:
    store, files = Store.open(str(tmp_path)), {"tokenizer.model": bytes(range(256)), "empty": b""}
    write_json(store, files_path("base@1/00000000"), FolderFiles(files))
    assert read_files(store, "base@1/00000000") == files
    assert read_files(store, None) == read_files(store, "base@2/00000000") == {}


def test_a_damaged_record_is_never_taken_for_none(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    assert read_origin(store, "mine") is None
    write_json(store, "runs/mine/origin.json", ORIGIN)
    assert read_origin(store, "mine") == ORIGIN
    path = tmp_path / "runs/mine/origin.json"
    path.write_text(path.read_text().replace("base@1", "base@9"))
    with pytest.raises(DamagedError, match="restore it from a copy, or use another name for a new run"):
        read_origin(store, "mine")
