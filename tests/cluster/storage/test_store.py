"""Does a store survive crashes, full disks, races and wrong paths, on disk and on S3?"""

import errno
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given
from hypothesis import strategies as st

from cluster.storage import atomic, buckets, retry
from cluster.storage.retry import _ACCESS, _SILENT, is_transient
from cluster.storage.store import Store
from cluster.storage.uri import checked, split_uri
from tests.cluster.storage.moto import moto_bucket
from tests.support.runs import free_ports


@pytest.fixture(scope="module")
def s3_settings():
    with moto_bucket() as settings:
        yield settings


@pytest.fixture
def s3(s3_settings, monkeypatch):
    """A store in the bucket, with its own prefix."""
    for name, value in s3_settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)  # one that is set outside would come first
    return Store.open(f"s3://acme/{os.urandom(4).hex()}")


@pytest.fixture(params=["local", "s3"])
def store(request, tmp_path):
    return Store.open(str(tmp_path / "lake")) if request.param == "local" else request.getfixturevalue("s3")


@pytest.mark.slow
def test_what_is_written_is_read_back_listed_and_deleted(store):
    store.write("runs/a b+ü/x.json", b"1")
    store.write("runs/a b+ü/x.json", b"22")
    store.write("runs/y", b"")
    assert store.read("runs/a b+ü/x.json") == b"22"
    assert store.list("runs") == ["runs/a b+ü/x.json", "runs/y"] == store.list()
    assert store.exists("runs/y") and store.exists("runs") and not store.exists("run")
    assert (store.folders("runs"), store.folders("nowhere")) == (["a b+ü"], [])
    store.delete("runs/y")
    store.delete("runs/y")
    assert store.list() == ["runs/a b+ü/x.json"]
    store.delete("runs")
    assert store.list() == store.list("nowhere") == []


def test_publish_creates_once_and_never_overwrites(store):
    assert store.publish("lease", b"first") is True
    assert store.publish("lease", b"second") is False
    assert store.publish("lease", b"first") is False
    assert store.read("lease") == b"first"


def test_of_many_publishers_exactly_one_wins_and_its_content_stands(store):
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: store.publish("commit", str(n).encode()), range(8)))
    assert won.count(True) == 1
    assert store.read("commit") == str(won.index(True)).encode()


@pytest.mark.slow
def test_large_files_go_up_and_down_whole(store, tmp_path):
    data = os.urandom(12 * 2**20)
    (tmp_path / "shard").write_bytes(data)
    store.upload(tmp_path / "shard", "ckpt/shard")
    store.download("ckpt/shard", tmp_path / "deep" / "back")
    assert (tmp_path / "deep" / "back").read_bytes() == data
    with store.open_input("ckpt/shard") as file:
        file.seek(10_000_000)
        assert file.read(7) == data[10_000_000:10_000_007]
        assert file.size() == len(data)


def test_a_pickled_store_is_the_same_store(store):
    store.write("x", b"1")
    again = pickle.loads(pickle.dumps(store))  # noqa: S301
    assert again == store and again.read("x") == b"1"


def test_a_probe_leaves_nothing_behind(store):
    store.check_writable()
    assert store.list() == []


def test_delta_tables_live_in_the_store(store):
    for rows in ([1, 2], [3]):
        write_deltalake(
            store.delta_uri("documents"),
            pa.table({"a": rows}),
            mode="append",
            storage_options=store.delta_options(),
        )
    table = DeltaTable(store.delta_uri("documents"), storage_options=store.delta_options())
    assert table.version() == 1
    assert "secret" not in str(store.delta_options()).lower()


def test_a_missing_file_is_named(store):
    with pytest.raises(FileNotFoundError, match=r"cannot read .*/runs/none: there is no such file"):
        store.read("runs/none")
    with pytest.raises(FileNotFoundError, match="runs/none"):
        store.open_input("runs/none")


def test_a_missing_bucket_is_told_in_one_sentence(s3):
    absent = Store.open("s3://nobody-made-this/lake")
    for act in (absent.check_writable, lambda: absent.publish("x", b"1")):
        with pytest.raises(OSError, match=r"s3://nobody-made-this/lake/.*: the bucket does not exist; create it"):
            act()


def test_an_endpoint_that_does_not_answer_is_told(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_ports(1)[0]}")
    monkeypatch.setattr(buckets, "ATTEMPTS", 1)
    monkeypatch.setattr(retry, "PATIENCE_S", 0.0)
    with pytest.raises(OSError, match="the endpoint does not answer; check the network"):
        Store.open("s3://acme/lake").write("x", b"1")


LOST = "AWS Error NO_SUCH_UPLOAD during CompleteMultipartUpload operation"  # it is there, its answer was lost


@pytest.mark.slow
def test_what_is_lost_on_the_way_is_done_again_as_a_whole(s3, tmp_path, monkeypatch):
    lost = set()

    class Away:
        """Loses the first of all calls that are alike."""

        def open_output_stream(self, path, compression):
            self.lose("open", path)
            return there.open_output_stream(path, compression=compression)

        def get_file_info(self, what):
            self.lose("look", str(what))
            return there.get_file_info(what)

        def lose(self, *call):
            if call not in lost:
                lost.add(call)
                raise OSError(LOST)

    there = s3.filesystem
    monkeypatch.setattr(s3, "filesystem", Away())
    (tmp_path / "x").write_bytes(b"12")
    s3.write("a", b"1")
    s3.upload(tmp_path / "x", "b")
    assert s3.exists("a") and s3.list() == ["a", "b"] and len(lost) == 5
    monkeypatch.setattr(s3, "filesystem", there)
    assert (s3.read("a"), s3.read("b")) == (b"1", b"12")


@pytest.mark.parametrize(
    ("passes", "text"),
    [
        (True, LOST),
        (True, "Generic S3 error Error performing PUT http://x in 30s - HTTP error operation timed out"),
        (True, "AWS Error SLOW_DOWN during PutObject operation"),
        (True, f"cannot read s3://a/b: {_SILENT}"),
        (False, "AWS Error ACCESS_DENIED during HeadObject operation: No response body."),
        (False, "AWS Error UNKNOWN (HTTP status 400) during HeadObject operation: No response body."),
        (False, "Generic S3 error ↳ Server returned non-2xx status code ↳ 400 Bad Request"),
        (False, "Generic S3 error Error performing list request 404 <Code>NoSuchBucket</Code>"),
        (False, f"cannot read s3://a/b: {_ACCESS}"),
        (False, "[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device"),
        (False, "Generic LocalFileSystem error: No such file or directory (os error 2)"),
    ],
)
def test_only_what_a_network_does_may_pass(passes, text):
    assert is_transient(OSError(text)) is passes


def test_publish_on_s3_without_boto3_says_what_to_install(s3, monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(OSError, match=r"pip install 'headrace\[s3\]'"):
        s3.publish("x", b"1")


class LosesTheFirstAnswer(BaseHTTPRequestHandler):
    """An S3 that stores the object and then fails to say so: the retry meets its own object."""

    objects: ClassVar[dict[str, str]] = {}

    def do_PUT(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        taken = self.path in self.objects
        self.objects.setdefault(self.path, self.headers.get("x-amz-meta-publisher", ""))
        self.send_response(412 if taken else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("x-amz-meta-publisher", self.objects[self.path])
        self.end_headers()

    def log_message(self, *_):
        """Stay quiet."""


def serve(handler):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


@pytest.mark.slow
def test_a_publish_whose_answer_was_lost_still_knows_that_it_won(s3, monkeypatch):
    LosesTheFirstAnswer.objects = {"/acme/other": "somebody"}
    server = serve(LosesTheFirstAnswer)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    try:
        assert buckets.create_once_s3("acme", "lease", b"1") is True
        assert buckets.create_once_s3("acme", "other", b"1") is False
    finally:
        server.shutdown()


class GoogleStorage(BaseHTTPRequestHandler):
    """The one call of Google's JSON API that publishing needs."""

    objects: ClassVar[dict[str, bytes]] = {}

    def do_POST(self):
        query, data = (
            parse_qs(urlsplit(self.path).query),
            self.rfile.read(int(self.headers["Content-Length"])),
        )
        taken = query["ifGenerationMatch"] == ["0"] and query["name"][0] in self.objects
        if not taken:
            self.objects[query["name"][0]] = data
        self.send_response(412 if taken else 404 if "/b/absent/" in self.path else 200)
        self.end_headers()

    log_message = LosesTheFirstAnswer.log_message


def test_publish_on_gs_creates_once(monkeypatch):
    server = serve(GoogleStorage)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"127.0.0.1:{server.server_port}")
    try:
        store = Store.open("gs://acme/lake")
        assert store.publish("lease", b"1") is True
        assert store.publish("lease", b"2") is False
        assert GoogleStorage.objects == {"lake/lease": b"1"}
        with pytest.raises(OSError, match=r"cannot publish gs://absent/x: HTTP status 404"):
            Store.open("gs://absent").publish("x", b"1")
    finally:
        server.shutdown()


def keep_writing(folder: str) -> None:
    store = Store.open(folder)
    for number in range(5000):  # far more than it lives to write
        store.write("state", str(number).encode() * 20_000)
        store.publish(f"commit-{number}", str(number).encode() * 20_000)


@pytest.mark.slow
def test_a_killed_writer_never_leaves_half_a_file(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    store = Store.open(str(tmp_path))
    for kill in range(4):
        writer = spawn.Process(target=keep_writing, args=(str(tmp_path / str(kill)),), daemon=True)
        writer.start()
        while writer.is_alive() and not (tmp_path / str(kill) / "commit-3").exists():
            time.sleep(0.01)
        assert writer.is_alive(), "the writer failed by itself"
        time.sleep(0.003 * kill)
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        for path in store.list(str(kill)):
            data = store.read(path)
            assert len(data) % 20_000 == 0 and data == data[: len(data) // 20_000] * 20_000


class FullDisk:
    """A file that takes some bytes and then finds the disk full."""

    def __init__(self, file, reason=errno.ENOSPC):
        self._file, self.name, self._reason = file, file.name, reason

    def write(self, data):
        self._file.write(data[: len(data) // 2])
        raise OSError(self._reason, os.strerror(self._reason))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()


def test_what_killed_writers_left_is_found_and_goes_once_it_is_old(tmp_path):
    store = Store.open(str(tmp_path))
    store.write("runs/r/a", b"whole")
    old, new = (tmp_path / f"runs/r/deep/.{name}.0123.aside" for name in ("old", "new"))
    other = tmp_path / "runs/other/.a.0123.aside"
    for path in (old, new, other):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    for path in (old, other):
        os.utime(path, (time.time() - 90000,) * 2)
    left = ["runs/r/deep/.new.0123.aside", "runs/r/deep/.old.0123.aside"]
    assert (store.list("runs/r"), store.asides("runs/r")) == (["runs/r/a"], left)
    assert store.sweep_asides("runs/r") == ["runs/r/deep/.old.0123.aside"]
    assert (old.exists(), new.exists(), other.exists()) == (False, True, True), "one may be written at this moment"
    assert store.asides("nowhere") == [] == store.sweep_asides("nowhere")


def test_a_full_disk_keeps_the_old_content_and_leaves_no_scrap(tmp_path, monkeypatch):
    store = Store.open(str(tmp_path))
    store.write("state", b"old")
    monkeypatch.setattr(atomic, "open", lambda *a: FullDisk(open(*a)), raising=False)  # noqa: SIM115
    for act in (store.write, store.publish):
        with pytest.raises(OSError, match="the disk is full; free space or choose another store") as caught:
            act("state", b"new content")
        assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert store.read("state") == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["state"]


def test_files_and_folders_are_synced_before_and_after_they_get_their_name(tmp_path, monkeypatch):
    store, seen = Store.open(str(tmp_path)), []
    sync = os.fsync

    def note(handle):
        seen.append((Path(f"/proc/self/fd/{handle}").readlink().name, (tmp_path / "d/f").exists()))
        sync(handle)

    monkeypatch.setattr(os, "fsync", note)
    store.write("d/f", b"1")
    assert [("aside" in name, there) for name, there in seen] == [
        (False, False),
        (True, False),
        (False, True),
    ]
    assert seen[-1][0] == "d"


@pytest.mark.parametrize(
    ("reason", "hint"),
    [(errno.EACCES, "make the folder writable"), (errno.EROFS, "the file system is read-only")],
)
def test_a_disk_that_refuses_is_told_with_its_reason(tmp_path, monkeypatch, reason, hint):
    monkeypatch.setattr(atomic, "open", lambda *a: FullDisk(open(*a), reason), raising=False)  # noqa: SIM115
    with pytest.raises(OSError, match=hint) as caught:
        Store.open(str(tmp_path)).write("state", b"new")
    assert caught.value.errno == reason and not list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match=r"make the folder writable"):
        Store.open(str(tmp_path)).check_writable()


def test_a_store_that_is_a_file_is_told(tmp_path):
    (tmp_path / "lake").write_text("not a folder")
    with pytest.raises(OSError, match=r"a part of the path is a file; choose another store"):
        Store.open(str(tmp_path / "lake")).check_writable()


@pytest.mark.parametrize("uri", ["http://x/y", "ftp://x", "hdfs://n/x", "file://host/x", "", "s3://"])
def test_what_is_no_store_is_refused(uri):
    with pytest.raises(ValueError, match=r"is no store; use a local path|names no bucket"):
        Store.open(uri)


@pytest.mark.parametrize("uri", ["s3://bucket/a/../b", "gs://bucket//a", "s3://key:secret@bucket/a"])
def test_uris_that_leave_their_bucket_are_refused(uri):
    with pytest.raises(ValueError, match=r"is no path inside a store|names no bucket"):
        Store.open(uri)


def test_local_uris_are_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert split_uri("lake") == split_uri(f"file://{tmp_path}/lake") == ("file", str(tmp_path / "lake"))
    assert Store.open("file:///a%20b").local_path("x") == Path("/a b/x")
    assert Store.open("s3://b/p/").delta_uri("t") == "s3://b/p/t"
    assert Store.open("s3://b").local_path("x") is None and Store.open("s3://b").free_bytes() is None
    assert Store.open("lake/not/there").free_bytes() > 0


@pytest.mark.slow
@given(st.lists(st.sampled_from(["a", "..", ".", "", "b c", "x\0", "a\\b", "...", "ü"]), min_size=1, max_size=4))
def test_no_path_leaves_its_store(parts):
    path = "/".join(parts)
    if set(parts) <= {"a", "b c", "...", "ü"}:
        assert checked(path) == path == Store.open("/lake").join(*parts)
        assert os.path.normpath(f"/lake/{path}") == f"/lake/{path}"
        return
    for act in (Store.open("/lake").read, Store.open("/lake").delete, Store.open("/lake").local_path):
        with pytest.raises(ValueError, match="is no path inside a store"):
            act(path)
