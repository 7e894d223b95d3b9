"""Is an index in a bucket as one in a folder, on a node that has copies of its files and on one that has not?"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from cluster.storage.state import write_json
from cluster.storage.store import Store
from data_ops.index.folder import IndexFolder, IndexManifest
from data_ops.index.kept import DamagedIndexError, LostError
from data_ops.index.known_ids import KnownIds
from data_ops.index.sorted_file import FileFacts
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
    log, known = Log(hashes(0, [300] * 8)), KnownIds(bucket, str, 1000)
    for window in range(8):
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
    torn.write_bytes(torn.read_bytes()[:100])  # it is fetched again
    last = KnownIds(bucket, str, 1000)
    assert not last.notes and last.contains(log.upto(last.window)).all()
    with open(torn, "r+b") as file:
        file.seek(64)
        file.write(bytes(64))
    with pytest.raises(LostError):
        last.contains(log.upto(last.window))
    log.follow(last, 7)
    assert last.contains(log.upto(7)).all() and torn.name not in copies(tmp_path) and len(last.notes) == 1
    assert not KnownIds(bucket, str, 1000).notes


@pytest.mark.slow
def test_two_nodes_keep_one_index_in_a_bucket(bucket, tmp_path):
    log, folders = Log(hashes(0, [300] * 10)), [IndexFolder(bucket.store, copies=tmp_path / node) for node in "ab"]
    ours, theirs = (KnownIds(folder, log.mark, at_once) for folder, at_once in zip(folders, (1000, 1700), strict=True))
    for window in range(10):
        for known in (ours, theirs) if window % 3 else (theirs, ours):
            log.follow(known, window)
            known.settle()
            assert known.contains(log.upto(window)).all()
    assert not ours.notes and not theirs.notes
    last = KnownIds(bucket, str)
    assert last.window > 5 and last.contains(log.upto(last.window)).all() and not last.notes
    named = {file.facts.name for file in last.files}
    assert {path.rpartition("/")[2] for path in bucket.store.list("index/ids") if path.endswith(".ids")} == named


@pytest.mark.slow
def test_a_node_that_can_hold_no_copies_says_so_and_reads_the_lake(bucket, tmp_path):
    log, known = Log(hashes(0, [300] * 6)), KnownIds(bucket, str, 1000)
    log.follow(known, 5)
    (tmp_path / "file").write_bytes(b"")
    other = KnownIds(IndexFolder(bucket.store, copies=tmp_path / "file"), str, 1000)
    assert other.window == -1 and "is built again from the lake" in other.notes[0]
    log.follow(other, 5)
    assert other.contains(log.upto(5)).all() and "cannot be written" in other.notes[1]
    assert KnownIds(bucket, str).window == known.written and not KnownIds(bucket, str).notes, "others have theirs still"


@pytest.mark.slow
def test_a_folder_for_copies_that_others_can_enter_is_refused(bucket, tmp_path):
    (tmp_path / f"headrace-index-{os.getuid()}").mkdir(mode=0o777)
    (tmp_path / f"headrace-index-{os.getuid()}").chmod(0o777)
    with pytest.raises(PermissionError, match="can be written by others; delete it"):
        bucket.write(lambda file, name: None)


@pytest.mark.parametrize(
    "facts",
    [
        FileFacts("../../../victim.ids", 5, 1),
        FileFacts("/etc/passwd", 5, 1),
        FileFacts("1-0123456789ab.ids", -5, 1),
        FileFacts("1-0123456789ab.ids", 5, -1),
    ],
)
def test_a_manifest_that_names_a_path_or_no_number_of_ids_is_refused_and_nothing_is_deleted(tmp_path, facts):
    victim = tmp_path / "victim.ids"
    victim.write_bytes(b"x")
    store = Store.open(str(tmp_path / "a/b/c"))
    write_json(store, "index/ids/manifest-00000000.json", IndexManifest(0, "0", (facts,)))
    with pytest.raises(DamagedIndexError, match="which is no file of an index"):
        IndexFolder(store).read(0)
    log, known = Log(hashes(0, [300] * 6)), KnownIds(IndexFolder(store), str, 1000)
    log.follow(known, 5)
    assert len(known.notes) == 1 and victim.exists() and known.contains(log.upto(5)).all()


def test_a_manifest_that_is_ours_though_its_making_was_denied_loses_no_file(tmp_path):
    """A bucket may lose the answer to a request that it has carried out; tried again it says that there is one."""

    class Forgetful(IndexFolder):
        def publish(self, number, manifest):
            super().publish(number, manifest)
            return False

    log, known = Log(hashes(0, [300] * 9)), KnownIds(Forgetful(Store.open(str(tmp_path))), str, 1000)
    log.follow(known, 8)
    assert not known.notes and known.contains(log.upto(8)).all() and known.written > 3
    assert not KnownIds(IndexFolder(Store.open(str(tmp_path))), str).notes
