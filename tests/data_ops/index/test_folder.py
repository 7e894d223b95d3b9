"""Is an index in a bucket as one in a folder, on a node that has copies of its files and on one that has not?"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from cluster.storage.store import Store
from data_ops.index.folder import IndexFolder
from data_ops.index.known_ids import KnownIds
from tests.cluster.storage.moto import moto_bucket
from tests.data_ops.index.logs import Log, hashes


@pytest.fixture(scope="module")
def settings():
    with moto_bucket() as found:
        yield found


@pytest.fixture
def bucket(settings, monkeypatch, tmp_path):
    """An index in a bucket; this node's folder for temporary files is empty."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)  # one that is set outside would come first
    before, tempfile.tempdir = tempfile.tempdir, str(tmp_path)
    yield IndexFolder(Store.open(f"s3://acme/{os.urandom(4).hex()}"), "index/ids")
    tempfile.tempdir = before


def copies(path: Path) -> set[str]:
    return {file.name for file in path.rglob("*.ids")}


@pytest.mark.slow
def test_a_bucket_is_copied_once_a_node_and_a_copy_that_is_torn_is_not_believed(bucket, tmp_path):
    log, known = Log(hashes(0, [300] * 12)), KnownIds(bucket, str, 1000)
    for window in range(12):
        log.follow(known, window)
        known.settle()
    named = {file.facts.name for file in known.files}
    there = {path.rpartition("/")[2] for path in bucket.store.list("index/ids")}
    assert copies(tmp_path) == named and named < there and len(there) == len(named) + 1
    (folder,) = tmp_path.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700

    shutil.rmtree(folder)  # another node
    again = KnownIds(bucket, str, 1000)
    assert copies(tmp_path) == named and again.contains(log.upto(again.window)).all() and not again.notes

    torn = next(tmp_path.rglob("*.ids"))
    torn.write_bytes(torn.read_bytes()[:100])
    last = KnownIds(bucket, str, 1000)
    assert len(last.notes) == 1
    log.follow(last, 11)
    assert last.contains(log.upto(11)).all() and torn.name not in copies(tmp_path)
    assert not KnownIds(bucket, str, 1000).notes


@pytest.mark.slow
def test_a_folder_for_copies_that_others_can_enter_is_refused(bucket, tmp_path):
    (tmp_path / f"headrace-index-{os.getuid()}").mkdir(mode=0o777)
    (tmp_path / f"headrace-index-{os.getuid()}").chmod(0o777)
    with pytest.raises(PermissionError, match="can be written by others; delete it"):
        bucket.write(lambda file, name: None)
