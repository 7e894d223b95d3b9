"""Reads files as ingest does: poll after poll, with everything passed on as JSON and by pickle."""

import copy
import json
import os
from pathlib import Path

import orjson

from data_ops.documents.document import RECORD_SCHEMA
from data_ops.sources.files.config import FilesConfig
from data_ops.sources.files.source import FilesSource
from data_ops.sources.kinds import open_source
from data_ops.sources.protocol import MAX_BATCH_ROWS, Span

OLD = 1_600_000_000


class Reader:
    """Polls a source as ingest does: cursor through JSON, spans through pickle; `now` is the clock it goes by."""

    def __init__(self, *paths: Path | str, **config) -> None:
        self.config = FilesConfig(**{"path": tuple(map(str, paths)), "settle": 0} | config)
        self.cursor, self.warnings, self.rows, self.drained = {}, [], [], True
        self.untaken, self.now = [], 0.0
        self.restart()

    def restart(self) -> None:
        """Open the source anew, as another process does: only the cursor stays."""
        self.source = open_source("files", self.config)
        self.source.looks.clock = self

    def __call__(self) -> float:
        return self.now

    def poll(self, max_records: int = 10**6) -> list[dict]:
        found = self.source.discover(orjson.loads(orjson.dumps(self.cursor)), max_records)
        assert sum(span.num_records for span in found.spans) <= max_records
        rows = [row for span in found.spans for row in rows_of(copy.deepcopy(open_source("files", self.config)), span)]
        self.cursor, self.drained = found.cursor, found.drained
        self.untaken = [(Path(u.partition).name, u.state, u.reason) for u in found.untaken]
        self.warnings += found.warnings
        self.rows += rows
        return rows

    def all(self, max_records: int) -> list[dict]:
        self.poll(max_records)
        for _ in range(10_000):
            if self.drained:
                return self.rows
            self.now += 1
            self.poll(max_records)
        raise AssertionError("the source is never drained")


def rows_of(source: FilesSource, span: Span) -> list[dict]:
    batches = list(source.read(span))
    assert all(batch.schema.equals(RECORD_SCHEMA) and len(batch) <= MAX_BATCH_ROWS for batch in batches)
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert [row["offset"] for row in rows] == list(range(span.first_record, span.first_record + span.num_records))
    return rows


def texts(rows: list[dict]) -> list[str]:
    return [row["text"] for row in rows]


def line(text: str, **fields) -> bytes:
    return json.dumps({"text": text, **fields}).encode() + b"\n"


def put(path: Path, data: bytes, modified_s: float = OLD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (modified_s, modified_s))
    return path


def grow(path: Path, data: bytes) -> None:
    put(path, path.read_bytes() + data, path.stat().st_mtime + 10)
