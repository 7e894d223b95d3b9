"""What does a model score on held-out documents, and by slice?"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from cluster.rows import Rows
from cluster.storage.seal import DamagedError
from cluster.storage.store import Store
from models.measures.metrics import bits_per_byte
from ray_jobs.evaluation.held_out import HeldOut
from ray_jobs.store.paths import run_path

Score = Callable[[Rows], tuple[npt.NDArray[np.float64], Any]]

ROWS_AT_ONCE = 64
MAGIC, OLD_MAGIC = b"headrace scores 2", b"ARROW1"  # the first is followed by the checksum of all behind it


def score(data: HeldOut, evaluate: Score, rank: int = 0, world: int = 1) -> npt.NDArray[np.float64]:
    """Sum nats per document over this rank's part of the rows; the ranks' results add up to the whole.

    Every rank makes the same number of calls with the same number of rows, as ZeRO-3 needs.
    """
    nats = np.zeros(data.table.num_rows)
    stride = ROWS_AT_ONCE * world
    for first in range(0, data.packing.num_rows, stride):
        begin = first + rank * ROWS_AT_ONCE
        rows = np.arange(begin, min(begin + ROWS_AT_ONCE, data.packing.num_rows))
        part = rows_of(data, rows, ROWS_AT_ONCE)
        found, _ = evaluate(part)
        low = np.searchsorted(data.packing.row, rows, side="left")
        high = np.searchsorted(data.packing.row, rows, side="right")
        for i in range(len(rows)):
            np.add.at(nats, data.packing.document[low[i] : high[i]], found[i, : high[i] - low[i]])
    return nats


def rows_of(data: HeldOut, rows: npt.NDArray[np.int64], count: int) -> Rows:
    """Build `count` rows: the named consecutive ones, then empty ones."""
    from ray_jobs.evaluation.held_out_rows import Laid, fill_rows  # numba, as above

    low, high = 0, 0
    if len(rows):
        low = int(np.searchsorted(data.packing.row, rows[0], side="left"))
        high = int(np.searchsorted(data.packing.row, rows[-1], side="right"))
    first = int(rows[0]) if len(rows) else 0
    piece = data.packing._replace(
        row=data.packing.row[low:high] - first,
        start=data.packing.start[low:high],
        document=data.packing.document[low:high],
        document_start=data.packing.document_start[low:high],
        length=data.packing.length[low:high],
        num_rows=count,
    )
    laid = Laid(data.table, data.packing, data.tokens, data.offsets, data.keys)
    return fill_rows(piece, laid, data.row_tokens, data.objective)


def with_nats(data: HeldOut, nats: npt.NDArray[np.float64]) -> pa.Table:
    """The per-document result: id, slice, num_bytes, nats."""
    return data.table.append_column("nats", pa.array(nats))


def by_slice(table: pa.Table) -> dict[str, dict[str, float]]:
    """Bits per byte, documents and bytes of each slice, ordered by name."""
    groups = table.group_by("slice").aggregate([("nats", "sum"), ("num_bytes", "sum"), ("nats", "count")])
    rows = sorted(groups.to_pylist(), key=lambda row: str(row["slice"]))
    return {
        row["slice"]: {
            "bits_per_byte": bits_per_byte(row["nats_sum"], row["num_bytes_sum"]),
            "documents": row["nats_count"],
            "bytes": row["num_bytes_sum"],
        }
        for row in rows
    }


def write_scores(store: Store, run: str, name: str, table: pa.Table) -> None:
    """Keep per-document figures, with their checksum, at runs/<run>/evaluations/<name>.arrow."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    body = sink.getvalue().to_pybytes()
    store.write(scores_path(run, name), MAGIC + xxhash.xxh3_128_digest(body) + body)


def read_scores(store: Store, run: str, name: str) -> pa.Table:
    """Read what `write_scores` kept; DamagedError where it changed. A file of an older version has no checksum."""
    path = scores_path(run, name)
    data = store.read(path)
    body = data[len(MAGIC) + 16 :] if data.startswith(MAGIC) else data
    sealed = data[len(MAGIC) : len(MAGIC) + 16] == xxhash.xxh3_128_digest(body)
    if not (sealed if data.startswith(MAGIC) else data.startswith(OLD_MAGIC)):
        raise DamagedError(f"{store.uri}/{path} is damaged: its checksum does not match; the checkpoint is scored anew")
    return pa.ipc.open_file(pa.py_buffer(body)).read_all()


def scores_path(run: str, name: str) -> str:
    """Where the figures of a checkpoint are."""
    return run_path(run, "evaluations", f"{name}.arrow")
