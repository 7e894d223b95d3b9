"""Which parsers read what strangers write, what do good inputs look like, and which answers are theirs?

Files are read the whole way: listed, planned, read and curated, and every planned record must come exactly once.
"""

import bz2
import gzip
import io
import json
import lzma
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from cluster.launch import notices
from cluster.launch.check import check_launch_file
from data_ops.curation.config import CurateConfig
from data_ops.curation.curate import Provenance, curate
from data_ops.documents.reasons import QUARANTINE
from data_ops.sources.files.config import FilesConfig
from data_ops.sources.files.notified.messages import read_notification
from data_ops.sources.first_look import first_look
from data_ops.sources.kinds import open_source
from data_ops.sources.quarantine import read_span
from ray_jobs.config.reading import read_config
from ray_jobs.outcome import ConfigError
from tests.fuzz import registered
from tests.fuzz.mutation import mutated
from tests.support.notified.bucket import bridged, event, wrapped
from tests.support.root import ROOT


class Parser(NamedTuple):
    """A parser: good inputs to change, and what reads one. It raises where the parser did what it must not.

    at_once: how many changed inputs are fed as the lines of one file.
    """

    seeds: tuple[bytes, ...]
    feed: Callable[[bytes, Path], None]
    at_once: int = 1

    def change(self, generator: random.Random) -> bytes:
        """Return changed inputs."""
        return b"\n".join(mutated(generator.choice(self.seeds), generator) for _ in range(self.at_once))


RECORDS = [
    {"text": "The wheel turns because water falls on it.", "time": "2023-01-02T10:00:00Z", "id": 7, "x": None},
    {"text": "Zwei Wörter 水車 😀\u2028", "time": 1672653600, "id": "b", "meta": {"text": "deep", "n": [1, 2.5]}},
    {"text": "", "time": "Mon, 02 Jan 2023 10:00:00 GMT", "id": 12.0, "score": float("nan")},
]
LINES = "".join(json.dumps(record) + "\n" for record in RECORDS).encode() * 4
TABLE = b'id,text,time\n1,"A ""quoted"" text,\nof two lines",2023\n2,plain,20230102\n' * 3
CONFIG = FilesConfig(path="unused", time="time", id="id", settle=0)


def files(name: str) -> Callable[[bytes, Path], None]:
    """Feed a file of this name to the source of files, the whole way."""

    def feed(data: bytes, folder: Path) -> None:
        path = folder / name
        path.write_bytes(data)
        config = CONFIG.model_copy(update={"path": str(path)})
        source = open_source("fuzz", config)
        found = source.discover({}, 10**6)
        first_look("fuzz", config)
        for span in found.spans:
            rows = 0
            for batch in read_span(source, span):
                assert all(error is None or error in QUARANTINE for error in batch["error"].to_pylist())
                given = Provenance("fuzz", span.partition, 1.0, span.modified_s, 1.7e9)
                assert curate(batch, CurateConfig(), given, seed=0, held_out_share=0.1).num_rows == batch.num_rows
                rows += batch.num_rows
            assert rows == span.num_records, f"{rows} rows of {span}"

    return feed


def parquet_seeds() -> tuple[bytes, ...]:
    """Files of several codecs, page versions and types."""
    times = pa.array([1672653600000] * 3, pa.int64())
    columns = {"text": [r["text"] for r in RECORDS], "time": times, "id": ["1", "2", None], "n": [{"a": [1]}] * 3}
    seeds = []
    for codec, version, dictionary in (("snappy", "1.0", True), ("zstd", "2.0", False), ("gzip", "1.0", False)):
        for column in (times, times.cast(pa.timestamp("ms")), pa.array([b"x", None, b"\xff"])):
            out = io.BytesIO()
            table = pa.table({**columns, "time": column})
            pq.write_table(table, out, compression=codec, data_page_version=version, use_dictionary=dictionary)
            seeds.append(out.getvalue())
    return tuple(seeds)


def yaml_config(data: bytes, folder: Path) -> None:
    """Feed a file of the configuration."""
    path = folder / "config.yaml"
    path.write_bytes(data)
    with suppress(ConfigError):
        read_config([str(path)])


def override(data: bytes, folder: Path) -> None:
    """Feed an override as argv gives it: bytes that are no UTF-8 are half surrogates."""
    with suppress(ConfigError):
        read_config([], [data.replace(b"\0", b"").decode("utf-8", "surrogateescape")])


def launch_file(data: bytes, folder: Path) -> None:
    """Feed a file for the checker of launch files."""
    path = folder / "launch.yaml"
    path.write_bytes(data)
    check_launch_file(path)


def notice(data: bytes, folder: Path) -> None:
    """Feed an answer of each cloud's metadata service."""
    answer = notices.HttpAnswer(200, data.decode("utf-8", "replace"), {})
    with mock.patch.object(notices, "ask", lambda *given, **named: answer):
        for cloud in (notices.Aws(), notices.Gcp(), notices.Azure()):
            with suppress(notices.Unanswered):
                list(cloud.look())


def notification(data: bytes, folder: Path) -> None:
    """Feed the body of a queue's message."""
    found = read_notification(data.decode("utf-8", "replace"))
    assert all(named.bucket and named.key for named in found.objects)


LAUNCH = tuple(path.read_bytes() for path in sorted((ROOT / "cluster/launch").glob("*.yaml")))
RECIPES = tuple(path.read_bytes() for path in sorted((ROOT / "ray_jobs/config/recipes").glob("*.yaml")))
OVERRIDES = (b"optim.lr=3e-4", b"--sources.a.path=['x', 'y']", b"seed=2026-13-45", b"engine.workers=[1, 2]", b"name=a")
NOTICES = (
    b'{"action": "terminate", "time": "2026-11-29T10:00:00Z"}',
    b'{"noticeTime": "2026-11-29T10:00:00Z"}',
    b"TRUE",
    b"TERMINATE_ON_HOST_MAINTENANCE",
    b'{"DocumentIncarnation": 1, "Events": [{"EventId": "a", "EventType": "Preempt", "Resources": ["vm"], '
    b'"NotBefore": "Mon, 19 Sep 2026 18:29:47 GMT"}]}',
)
EVENTS = (
    event("news/a+b%2B.jsonl"),
    bridged("news/a b.jsonl"),
    wrapped(event("news/%C3%A9")),
    event("x", name="s3:TestEvent"),
)
PARSERS = {
    "json lines": Parser((LINES, LINES.decode().encode("utf-16")), files("a.jsonl")),
    "json records": Parser(tuple(LINES.splitlines()[:3]), files("b.jsonl"), at_once=300),
    "parquet": Parser(parquet_seeds(), files("a.parquet")),
    "gzip": Parser((gzip.compress(LINES), gzip.compress(LINES[:99]) * 9), files("a.jsonl.gz")),
    "zstd": Parser((zstandard.compress(LINES), zstandard.compress(LINES[:99]) * 9), files("a.jsonl.zst")),
    "bzip2, xz": Parser((bz2.compress(LINES), lzma.compress(LINES)), files("a.jsonl")),
    "text": Parser((b"# A title\n\nProse \xc3\xa9.\r\n" * 9, "Prose in UTF-16".encode("utf-16")), files("a.txt")),
    "tables": Parser((TABLE, TABLE.replace(b",", b"\t")), files("a.csv")),
    "rows of tables": Parser((b'1,"a ""b""",2023', b"2,plain,20230102", b"3,,"), files("b.csv"), at_once=300),
    "yaml config": Parser(RECIPES, yaml_config),
    "overrides": Parser(OVERRIDES, override),
    "launch files": Parser(LAUNCH, launch_file),
    "notices": Parser(NOTICES, notice),
    "notifications": Parser(tuple(json.dumps(each).encode() for each in EVENTS), notification),
    "avro values": Parser(registered.VALUES["avro"], registered.value("avro")),
    "avro trees": Parser(registered.VALUES["tree"], registered.value("tree")),
    "protobuf values": Parser(registered.VALUES["protobuf"], registered.value("protobuf")),
    "avro schemas": Parser(
        (json.dumps(registered.AVRO).encode(), json.dumps(registered.TREE).encode()), registered.avro_schema
    ),
    "descriptors": Parser((registered.DESCRIPTORS,), registered.descriptors),
}
