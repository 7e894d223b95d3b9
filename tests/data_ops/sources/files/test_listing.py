"""Which files and objects does a glob name, and is what it passes over said?"""

import gzip
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from pydantic import ValidationError

from cluster.storage.buckets import open_filesystem
from data_ops.sources.files.listing import glob_regex
from data_ops.sources.kinds import FilesConfig, open_source
from data_ops.sources.protocol import Untaken
from tests.support.files.reader import Reader, line, put, rows_of, texts


def test_globs_stay_in_a_folder_unless_doubled_and_skip_hidden_names(tmp_path: Path):
    for name in ("b.jsonl", "a.jsonl", "a.txt", ".hidden.jsonl", "x/c.jsonl", "x/y/d.jsonl", "x/.git/e.jsonl"):
        put(tmp_path / name, line(name))
    assert texts(Reader(tmp_path / "*.jsonl").poll()) == ["a.jsonl", "b.jsonl"]
    assert texts(Reader(tmp_path / "**/*.jsonl").poll()) == ["a.jsonl", "b.jsonl", "x/c.jsonl", "x/y/d.jsonl"]
    assert texts(Reader(tmp_path / "x/*/?.jsonl").poll()) == ["x/y/d.jsonl"]
    assert texts(Reader(f"file://{tmp_path}/[!b].jsonl").poll()) == ["a.jsonl"]
    assert len(Reader(tmp_path / "x").poll()) == 2  # a folder means all below it


def test_several_patterns_find_a_file_once(tmp_path: Path):
    put(tmp_path / "a.jsonl", line("a"))
    reader = Reader(tmp_path / "*", tmp_path / "a.jsonl")
    assert texts(reader.poll()) == ["a"] and reader.poll() == []


def test_nothing_matching_is_said_and_no_error(tmp_path: Path):
    said = [open_source("a", FilesConfig(path=f"{tmp_path}/b/**/c", wait=wait)).missing() for wait in (False, True)]
    assert ["matches no file" in str(sentence) for sentence in said] == [True, False]
    assert Reader(tmp_path / "absent/*").poll() == []


def test_a_relative_path_means_the_folder_where_the_source_was_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    put(tmp_path / "a.jsonl", line("a"))
    monkeypatch.chdir(tmp_path)
    source = open_source("files", FilesConfig(path="*.jsonl"))
    (span,) = source.discover({}, 9).spans
    monkeypatch.chdir("/")
    assert span.partition == str(tmp_path / "a.jsonl") and texts(rows_of(source, span)) == ["a"]


def test_names_from_outside_are_only_compared(tmp_path: Path):
    for name in ("a%2e.jsonl", "b#?.jsonl", "c\n.jsonl", "é[1].jsonl"):
        put(tmp_path / name, line(name))
    assert sorted(texts(Reader(tmp_path / "*.jsonl").poll())) == sorted(p.name for p in tmp_path.iterdir())
    assert not glob_regex("/data/*.jsonl").fullmatch("/data/../etc/x.jsonl")
    assert not glob_regex("/data/*.jsonl").fullmatch("/data/a-jsonl")


@pytest.mark.parametrize("path", ["", (), ("a", ""), "s3://", "s3://*/x", "ftp://host/x"])
def test_a_path_that_names_nothing_is_refused(path):
    with pytest.raises(ValidationError, match=r"path|store"):
        FilesConfig(path=path)


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("{a,b}/*.jsonl", "give a list of paths"),
        ("no/**.jsonl", r"write \*\*/\*.jsonl"),
        ("$DATA/*.jsonl", "variables of the shell"),
        ("in/*.jsonl ", "white space"),
        ("in\\*.jsonl", "separated by /"),
        ("in/*.JSONL", "check the path"),
    ],
)
def test_a_pattern_that_matches_nothing_is_told_how_it_may_have_been_meant(tmp_path, pattern, hint):
    put(tmp_path / "in/a.jsonl", line("1"))
    assert re.search(f"matches no file; .*{hint}", Reader(f"{tmp_path}/{pattern}").source.missing())
    reader = Reader(f"{tmp_path}/{pattern}", tmp_path / "in/a.jsonl")
    assert texts(reader.poll()) == ["1"] and reader.source.missing() is None
    (warning,) = reader.warnings
    assert "matches no file" in warning and (hint in ("check the path", r"write \*\*/\*.jsonl") or hint in warning)
    waiting = Reader(f"{tmp_path}/{pattern}", tmp_path / "in/a.jsonl", wait=True)
    assert texts(waiting.poll()) == ["1"] and waiting.warnings == []


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, bytes], None]]:
    """An S3 server over HTTP with the bucket "news"; yields a put(key, body) function."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    places = {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    for name, value in (places | {"AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)

    filesystem = open_filesystem("s3", "news")

    def put_object(key: str, body: bytes) -> None:
        with filesystem.open_output_stream(f"news/{key}", compression=None) as stream:
            stream.write(body)

    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/news", method="PUT"), timeout=10).close()
    yield put_object
    server.stop()


@pytest.mark.slow
def test_objects_in_a_bucket_are_found_and_whole_at_once(bucket):
    bucket("2026/a.jsonl", line("1") + line("2").rstrip())
    bucket("2026/01/b.jsonl.gz", gzip.compress(line("3")))
    bucket("2026/01/c#..?.txt", b"4")
    reader = Reader("s3://news/2026/**", settle="1h")
    assert sorted(texts(reader.poll())) == ["1", "2", "3", "4"] and reader.drained and reader.poll() == []
    assert "s3://news/2026/a.jsonl" in reader.cursor and "s3://news/2026/01/c#..?.txt" in reader.cursor
    bucket("2026/a.jsonl", line("1") + line("2") + line("5"))
    assert texts(reader.poll()) == ["5"] and reader.warnings == []
    assert texts(Reader("s3://news/2026/*.jsonl").poll()) == ["1", "2", "5"]
    assert Reader("s3://absent/*.jsonl").poll() == []


@pytest.mark.slow
def test_an_object_that_is_called_as_a_folder_hides_nothing_and_a_key_is_taken_literally(bucket):
    client = boto3.client("s3")
    for key in ("p", "p/a.jsonl", "p/a%20b%2Fc.jsonl", "p/d+e f.jsonl", "pq/no.jsonl"):
        client.put_object(Bucket="news", Key=key, Body=line(key))
    assert sorted(texts(Reader("s3://news/p").poll())) == ["p", "p/a%20b%2Fc.jsonl", "p/a.jsonl", "p/d+e f.jsonl"]


@pytest.mark.slow
def test_an_object_whose_key_is_no_path_is_not_read_and_said(bucket):
    bucket("n/a.jsonl", line("1"))
    client = boto3.client("s3")
    for key in ("n//b.jsonl", "n/./c.jsonl", "n/../d.jsonl", "n/e.jsonl/", "n/f//g.png", "n/folder/"):
        client.put_object(Bucket="news", Key=key, Body=b"" if key == "n/folder/" else line("odd"))
    reader = Reader("s3://news/n/**/*.jsonl")
    assert texts(reader.poll()) == ["1"]
    told = {f"s3://news/n/{rest}" for rest in ("/b.jsonl", "./c.jsonl", "../d.jsonl", "e.jsonl/")}
    untaken = reader.source.discover(reader.cursor, 9).untaken
    assert set(untaken) == {Untaken(partition, "skipped", "odd_key", len(line("odd"))) for partition in told}
    assert len(reader.warnings) == 4 and "copy it to a key without them" in reader.warnings[0]
    assert texts(Reader("s3://news/n/*.jsonl").poll()) == ["1"]
