"""Does every kind of source keep the promises of the protocol, also one that only an installed package knows?"""

import json
import os
import pickle
import sqlite3
import subprocess
import sys
import tomllib
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from pydantic import TypeAdapter, ValidationError

from data_ops.documents.document import RECORD_SCHEMA
from data_ops.sources.kinds import SOURCES, ConfiguredSource, open_source
from data_ops.sources.protocol import MAX_BATCH_ROWS, Source, SourceConfig, Span
from tests.data_ops.sources.dataset.saving import save
from tests.support.kafka.mock import MockKafka, produce
from tests.support.notified.bucket import AWS, NotifiedBucket, event, notified_bucket
from tests.support.packages import forget, install
from tests.support.root import ROOT

EXAMPLE = ROOT / "docs" / "examples" / "headrace-poems"
KINDS = [*SOURCES.own, "poems"]  # the last one by an entry point of the example
MEMBERS = [*KINDS, pytest.param("notified", marks=pytest.mark.slow)]  # files in a bucket that tells a queue of them
GUESSED = {  # why the size of a span is none that was counted
    "poems": "a default holds",
    "delta": "a footer tells how many bytes all columns unpack to",
    "dataset": "its batches tell how many all columns take",
}
READ: TypeAdapter[SourceConfig] = TypeAdapter(ConfiguredSource)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The example package, as if it were installed."""
    entries = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]["entry-points"]
    install(tmp_path, monkeypatch, entries, headrace_poems=(EXAMPLE / "headrace_poems.py").read_text())
    yield tmp_path
    forget()


@pytest.fixture(scope="module")
def broker():
    """A Kafka cluster with one topic."""
    broker = MockKafka()
    broker.create("lines")
    produce(broker.servers, "lines", ({"text": f"line {i}"} for i in range(9)))
    yield broker
    broker.close()


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory):
    """A bucket of three objects, each of which its queue tells twice."""
    with notified_bucket(tmp_path_factory.mktemp("moto")) as bucket:
        bucket.notify()
        for number in range(3):
            bucket.put(f"news/{number}.jsonl", *(f"line {3 * number + n}" for n in range(3)))
            bucket.send(event(f"news/{number}.jsonl"))
        yield bucket


@pytest.fixture(params=MEMBERS)
def config(
    request: pytest.FixtureRequest, installed: Path, broker: MockKafka, monkeypatch: pytest.MonkeyPatch
) -> SourceConfig:
    """One configuration of each kind that holds at least three records."""
    if request.param == "notified":
        bucket: NotifiedBucket = request.getfixturevalue("bucket")
        for name, value in {**AWS, "AWS_ENDPOINT_URL": bucket.endpoint}.items():
            monkeypatch.setenv(name, value)
        return READ.validate_python({"path": "s3://acme/news/*.jsonl", "notifications": {"queue": bucket.queue}})
    (installed / "a.jsonl").write_text("".join(json.dumps({"text": f"line {i}"}) + "\n" for i in range(9)))
    (installed / "poems.txt").write_text("Roses are red.\n\nViolets are blue.\n\nThe lake is full.\n")
    with closing(sqlite3.connect(installed / "docs.db")) as database, database:
        database.execute("create table docs (id integer primary key autoincrement, text)")
        database.executemany("insert into docs (text) values (?)", [(f"line {i}",) for i in range(9)])
    for first in (0, 4):
        lines = pa.table({"text": [f"line {i}" for i in range(first, 9)]}).slice(0, 5)
        write_deltalake(f"{installed}/table", lines, mode="append")
    save(installed / "saved", pa.table({"text": [f"line {i}" for i in range(9)]}))
    given = {
        "dataset": {"kind": "dataset", "path": f"{installed}/saved"},
        "delta": {"kind": "delta", "path": f"{installed}/table"},
        "files": {"path": f"{installed}/*.jsonl"},
        "kafka": {"kind": "kafka", "servers": broker.servers, "topics": "lines"},
        "python": {"kind": "python", "megabytes": 0.2},
        "sql": {"kind": "sql", "url": f"sqlite:///{installed}/docs.db", "table": "docs"},
        "poems": {"kind": "poems", "file": f"{installed}/poems.txt"},
    }
    return READ.validate_python(given[request.param])


def delivered(source: Source, max_records: int) -> list[dict]:
    """All records in windows of at most so many, with everything passed on as JSON and by pickle, as ingest does."""
    cursor, rows = {}, []
    while True:
        found = pickle.loads(pickle.dumps(source)).discover(json.loads(json.dumps(cursor)), max_records)  # noqa: S301
        assert sum(span.num_records for span in found.spans) <= max_records
        for span in found.spans:
            rows += read(source, Span(**json.loads(json.dumps(asdict(span)))))
        assert found.spans or found.drained
        cursor = found.cursor
        if found.drained:
            assert source.discover(cursor, max_records).spans == []
            return rows


def read(source: Source, span: Span) -> list[dict]:
    """The rows of a span, twice the same, with the ordinals that were planned."""
    batches = [list(source.read(span)) for _ in range(2)]
    assert batches[0] == batches[1]
    assert all(batch.schema.equals(RECORD_SCHEMA) and len(batch) <= MAX_BATCH_ROWS for batch in batches[0])
    rows = pa.Table.from_batches(batches[0]).to_pylist()
    assert [r["offset"] for r in rows] == list(range(span.first_record, span.first_record + span.num_records))
    return [{**row, "partition": span.partition} for row in rows]


@pytest.mark.slow
def test_windows_of_any_size_deliver_the_same_records_once_in_the_same_order(config: SourceConfig):
    source = open_source("mine", config)
    whole = delivered(source, 10**6)
    assert len(whole) >= 3 and len({(row["partition"], row["offset"]) for row in whole}) == len(whole)
    assert delivered(source, 7) == whole


@pytest.mark.slow
def test_an_ingest_that_begins_gets_what_a_look_shows_and_a_look_takes_nothing_away(config: SourceConfig):
    shown = delivered(open_source("mine", config), 10**6)
    source, cursor, rows, drained = open_source("mine", config), {}, [], False
    source.begin(follow=False)
    while not drained:
        found = source.discover(json.loads(json.dumps(cursor)), 2)
        rows += [row for span in found.spans for row in read(source, span)]
        cursor, drained = found.cursor, found.drained
        source.acknowledge(cursor)
    assert rows == shown == delivered(open_source("mine", config), 10**6)


def test_a_source_names_what_it_discovers_tells_its_size_and_nothing_else(config: SourceConfig):
    source = open_source("mine", config)
    spans = source.discover({}, 10**6).spans
    assert source.missing() is None and all(source.names(span.partition) for span in spans)
    assert not source.names("/nowhere/else.jsonl")
    rows = [row for span in spans for row in source.read(span)]
    told, real = sum(map(source.size_of, spans)), sum(pa.compute.sum(batch["num_bytes_read"]).as_py() for batch in rows)
    assert isinstance(told, int) and (told == real or config.kind in GUESSED), GUESSED.get(config.kind)


def test_what_is_durable_may_be_told_at_any_time(config: SourceConfig):
    source = open_source("mine", config)
    after = source.discover({}, 2).cursor
    for cursor in (after, after, {}):
        source.acknowledge(cursor)
    assert source.discover(after, 10**6).spans, "a hint is never the truth"


def test_a_configuration_comes_back_from_what_is_written_down(config: SourceConfig):
    written = json.loads(json.dumps(READ.dump_python(config, mode="json")))
    assert READ.validate_python(written) == config and set(written) >= config.FINDS
    assert written["weight"] == 1.0 and config.describe() and config.absolute().kind == config.kind
    with pytest.raises(ValidationError):
        READ.validate_python({**written, "pth": 1})


def test_an_unknown_kind_is_answered_with_the_nearest_also_of_installed_packages(installed: Path):
    with pytest.raises(ValidationError, match=r"'peoms' is unknown; did you mean poems\?"):
        READ.validate_python({"kind": "peoms"})
    assert list(SOURCES) == KINDS


def test_a_class_that_is_no_source_is_named_with_its_package(installed: Path, monkeypatch: pytest.MonkeyPatch):
    install(installed, monkeypatch, {"headrace.sources": {"odd": "odd:Odd"}}, odd="class Odd: pass\n")
    with pytest.raises(ValidationError, match=r"odd = odd:Odd of stranger1 .*not a class that inherits from .*Source"):
        READ.validate_python({"kind": "odd"})


@pytest.mark.ray
def test_a_kind_of_an_installed_package_is_read_by_ray_workers(installed: Path):
    (installed / "poems.txt").write_text("Roses are red, as every poem of a test will say.\n\n" * 3)
    mine = json.dumps({"kind": "poems", "file": f"{installed}/poems.txt"})
    given = [f"store={installed}/store", f"sources.mine={mine}", "--json"]
    command = [sys.executable, "-m", "ray_jobs", "ingest", "tokenizer.kind=bytes", "held_out=0", *given]
    places = os.pathsep.join([str(installed), str(ROOT)])
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": places}, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1])["read"] == 3
