"""How do tests read files as a window would? One call: discover, read, and every row as a dict."""

import os
from pathlib import Path

from data_ops.sources.files.config import FilesConfig
from data_ops.sources.kinds import open_source

OLD = 1_600_000_000


def put(path: Path, data: bytes, modified_s: float = OLD) -> Path:
    """Write a file that was last changed long ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (modified_s, modified_s))
    return path


def read_rows(path: Path | str, **config) -> list[dict]:
    """Read all there is in files; each record must come once, in order."""
    rows, _ = read_with_warnings(path, **config)
    return rows


def read_with_warnings(path: Path | str, **config) -> tuple[list[dict], list[str]]:
    """Read all there is in files, and what the source says to a human."""
    source = open_source("files", FilesConfig(**{"path": str(path), "settle": 0} | config))
    found = source.discover({}, 10**6)
    rows = []
    for span in found.spans:
        here = [row for batch in source.read(span) for row in batch.to_pylist()]
        wanted = list(range(span.first_record, span.first_record + span.num_records))
        assert [row["offset"] for row in here] == wanted, span
        rows += here
    return rows, found.warnings
