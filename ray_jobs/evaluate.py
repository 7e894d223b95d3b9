"""How good is a model on text that nobody trains on, slice by slice?

Held-out documents are grouped into slices "source/period" by event time. `score` gives nats for every document; bits
per byte follow, which compare across tokenizers. Per-document figures are kept, because the promotion gate compares
two models document by document. A slice is capped (by the hash in its ids, so always the same documents), which
bounds the cost; the same function serves workers in training and the evaluation of another checkpoint.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from cluster.storage import Store
from cluster.units import Settings
from data_ops.lake import Lake
from models.metrics import bits_per_byte
from models.settings import Rows
from ray_jobs.commit import run_path

if TYPE_CHECKING:
    from data_ops.packing import Packing

PERIODS = {"day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m", "year": "%Y"}
COLUMNS = ["id", "source", "event_time", "num_bytes", "tokens"]
ROWS_AT_ONCE = 64

Score = Callable[[Rows], tuple[npt.NDArray[np.float64], Any]]


class EvaluateConfig(Settings):
    """Which held-out text is judged, and how often."""

    period: Literal["day", "week", "month", "year"] = Field("month", description="length of a slice in event time")
    documents_per_slice: int = Field(200, ge=1, description="held-out documents of a slice that are scored at most")
    every_rounds: int = Field(1, ge=1, description="rounds between two evaluations in training")


@dataclass(frozen=True)
class HeldOut:
    """Held-out documents (id, slice, num_bytes; ordered by id) and their rows."""

    table: pa.Table
    packing: "Packing"
    tokens: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    row_tokens: int
    document_token: int


def held_out(lake: Lake, last_window: int, config: EvaluateConfig, row_tokens: int, document_token: int) -> HeldOut:
    """Collect the held-out documents of all windows up to one; the same for everybody who asks."""
    from data_ops.packing import pack  # numba, 0.5 s: who only reads the settings does without

    table = lake.documents(0, last_window, COLUMNS, ["held_out"]).sort_by([("id", "ascending")])
    periods = pc.strftime(table["event_time"], format=PERIODS[config.period])
    slices = pc.binary_join_element_wise(table["source"], periods, "/")
    table = table.append_column("slice", slices)
    names = np.asarray(slices.to_pylist(), dtype=object)
    keep = np.zeros(len(names), bool)
    for name in set(names.tolist()):
        keep[np.flatnonzero(names == name)[: config.documents_per_slice]] = True
    table = table.filter(pa.array(keep)).combine_chunks()
    tokens = table["tokens"].combine_chunks() if table.num_rows else pa.array([], pa.list_(pa.int32()))
    lengths = pc.list_value_length(tokens).to_numpy().astype(np.int64) + 1
    return HeldOut(
        table.select(["id", "slice", "num_bytes"]),
        pack(lengths, row_tokens),
        tokens.flatten().to_numpy(),
        np.concatenate([[0], np.cumsum(lengths - 1)]),
        row_tokens,
        document_token,
    )


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
    from data_ops.packing import fill  # numba, as above

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
    filled = fill(piece, data.tokens, data.offsets, data.document_token, data.row_tokens)
    return Rows(filled.inputs, filled.labels, filled.segments)


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
    """Keep per-document figures at runs/<run>/evaluations/<name>.arrow."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    store.write(run_path(run, "evaluations", f"{name}.arrow"), sink.getvalue().to_pybytes())


def read_scores(store: Store, run: str, name: str) -> pa.Table:
    """Read what `write_scores` kept."""
    return pa.ipc.open_file(pa.py_buffer(store.read(run_path(run, "evaluations", f"{name}.arrow")))).read_all()
