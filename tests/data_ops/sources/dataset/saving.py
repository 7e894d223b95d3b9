"""A folder as `save_to_disk` of Hugging Face's `datasets` writes it, which is not installed here."""

import json
from pathlib import Path

import pyarrow as pa

from data_ops.sources.dataset.config import DatasetConfig
from data_ops.sources.dataset.source import DatasetSource
from data_ops.sources.protocol import Cursor

BATCH_ROWS = 4


def save(path: Path, *tables: pa.Table, fingerprint: str = "5f6e68a9b2b744f2", batch_rows: int = BATCH_ROWS) -> None:
    """Save a dataset of one file for each table."""
    path.mkdir(parents=True, exist_ok=True)
    names = [f"data-{number:05}-of-{len(tables):05}.arrow" for number in range(len(tables))]
    for name, table in zip(names, tables, strict=True):
        with pa.OSFile(str(path / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=batch_rows)
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": fingerprint, "_split": None}
    (path / "state.json").write_text(json.dumps(state))


def rows(first: int, last: int, **columns: object) -> pa.Table:
    """Rows [first, last) with an id and a text of their own."""
    return pa.table({"id": list(range(first, last)), "text": texts(first, last), **columns})


def texts(first: int, last: int) -> list[str]:
    """The texts of rows [first, last)."""
    return [f"text {n}" for n in range(first, last)]


def source_of(path: Path, **keys: object) -> DatasetSource:
    """A source of the dataset."""
    return DatasetSource("live", DatasetConfig(**{"path": str(path), "id": "id", **keys}))


class DatasetReader:
    """Goes on reading a dataset, as ingest does."""

    def __init__(self, path: Path, **keys: object) -> None:
        self.source, self.cursor = source_of(path, **keys), Cursor()
        self.rows: list[dict] = []
        self.told: list[str] = []
        self.spans: list = []

    def look(self, most: int = 10**6) -> bool:
        """Look once, and read what was found; whether that was all."""
        found = self.source.discover(json.loads(json.dumps(self.cursor)), most)
        assert sum(span.num_records for span in found.spans) <= most
        self.spans += found.spans
        self.rows += [row for span in found.spans for batch in self.source.read(span) for row in batch.to_pylist()]
        self.told += found.warnings
        self.cursor = found.cursor
        return found.drained

    def poll(self, most: int = 10**6) -> list[str]:
        """Look until nothing is left; the texts of the documents that came."""
        before = len(self.rows)
        while not self.look(most):
            pass
        return [row["text"] for row in self.rows[before:] if row["error"] is None]
