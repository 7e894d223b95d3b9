"""What is the digest of a window's documents, and do rows that were read agree with it?

For each fate how many documents there are, and one xxh3-128 a column over them in log order, so that a reader
of some columns compares just these. A digest is of values, not of their layout: chunks, widths of offsets and what
lies under a null do not matter. 1 to 3 kB a window; it costs a pass over the bytes (5 GB/s), where tokenising runs at
MB/s.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from data_ops.documents.document import FATES

PLACED_BY = ("window", "fate")  # what a digest belongs to; not a part of it


class FateDigest(msgspec.Struct, frozen=True):
    """The documents of one fate in one window: how many, and the digest of each column."""

    rows: int
    columns: dict[str, str]


WindowDigest = dict[str, FateDigest]  # by fate; one that does not occur is left out
NOTHING = FateDigest(0, {})
LONG = ("text", "tokens")  # columns whose values are too long to be copied
NARROW = (pa.string(), pa.binary())  # with offsets of 32 bits


def digest_of(rows: pa.Table) -> WindowDigest:
    """The digest of one window's rows, in log order."""
    if (np.diff(rows["position"].to_numpy()) < 0).any():
        rows = rows.sort_by("position")
    columns, found = ByteColumns(rows), {}
    for fate in FATES:
        chosen = columns.choose(fate, 0, rows.num_rows)
        if len(chosen.rows):
            found[fate] = FateDigest(len(chosen.rows), {name: columns.digest(name, chosen) for name in columns.names})
    return found


def differences(
    rows: pa.Table, fates: Iterable[str], digests: Mapping[int, list[WindowDigest]]
) -> dict[int, list[str]]:
    """What is wrong with rows that were read, by window; {} if nothing is.

    rows: in log order, with window, fate and any other columns: every row that there is of these fates in the windows
    of `digests`. digests: what each window may be: more than one thing where documents of it were forgotten, and [] of
    an older version.
    """
    columns, windows = ByteColumns(rows), rows["window"].to_numpy()
    unknown = set(np.unique(windows).tolist()) - set(digests)
    problems = {number: ["its row in `windows` is missing"] for number in unknown}
    for number, each in digests.items():
        low, high = np.searchsorted(windows, [number, number + 1]).tolist()
        chosen = {fate: columns.choose(fate, low, high) for fate in fates}
        for digest in each:
            wrong = [_compare(columns, fate, rows, digest.get(fate, NOTHING)) for fate, rows in chosen.items()]
            problems[number] = [text for text in wrong if text]
            if not problems[number]:
                del problems[number]
                break
    return problems


def _compare(columns: "ByteColumns", fate: str, chosen: "Chosen", written: FateDigest) -> str:
    if len(chosen.rows) != written.rows:
        return f"{len(chosen.rows)} of {written.rows} {fate} documents are there"
    names = [name for name in columns.names if name in written.columns]
    wrong = [name for name in names if columns.digest(name, chosen) != written.columns[name]]
    return f"{', '.join(wrong)} of the {fate} documents changed" if wrong else ""


def column_digest(column: pa.ChunkedArray) -> str:
    """Digest of a whole column."""
    parts = [_without_hidden(*_chunk(chunk)) for chunk in column.chunks if len(chunk)]
    state = xxhash.xxh3_128()
    for lengths, _ in parts:
        state.update(lengths.data)
    for _, data in parts:
        state.update(data.data)
    return state.hexdigest()


class Chosen(NamedTuple):
    """Rows of one fate: where they stand when rows are ordered by fate, and the rows themselves, in order."""

    low: int
    high: int
    rows: npt.NDArray[np.int64]


class ColumnBytes(NamedTuple):
    """The bytes of each value [n] (-1: null), where each begins [n+1], and the bytes; under a null some may lie."""

    lengths: npt.NDArray[np.int64]
    bounds: npt.NDArray[np.int64]
    data: npt.NDArray[np.uint8]


class ByteColumns:
    """Columns as bytes, so that the digest of any rows is one pass over them.

    Short values are ordered by fate once, as a copy; text and tokens, which are long, are read where they lie.
    """

    def __init__(self, rows: pa.Table) -> None:
        self.names = [name for name in rows.column_names if name not in PLACED_BY]
        fates = pc.fill_null(pc.index_in(rows["fate"].cast(pa.string()), pa.array(FATES)), -1).to_numpy()
        self._order = np.argsort(fates, kind="stable")
        self._fates = fates[self._order]
        short = rows.select([name for name in self.names if name not in LONG])
        if len(fates) and self._fates[0] != self._fates[-1]:
            short = short.take(pa.array(self._order))
        self._short = {name: _joined(short[name]) for name in short.column_names}
        batches = [batch for batch in rows.select([n for n in self.names if n in LONG]).to_batches() if batch.num_rows]
        self._firsts = np.cumsum([0, *(batch.num_rows for batch in batches)]).tolist()
        self._long = [{name: _as_it_lies(batch.column(name)) for name in batch.schema.names} for batch in batches]

    def choose(self, fate: str, low: int, high: int) -> Chosen:
        """The rows low..high-1 that have this fate."""
        first, last = np.searchsorted(self._fates, [FATES.index(fate), FATES.index(fate) + 1]).tolist()
        begin, end = (first + np.searchsorted(self._order[first:last], [low, high])).tolist()
        return Chosen(begin, end, self._order[begin:end])

    def digest(self, name: str, chosen: Chosen) -> str:
        """Digest of one column of these rows."""
        if name in LONG:
            return self._digest_long(name, chosen.rows)
        column = self._short[name]
        state = xxhash.xxh3_128(column.lengths[chosen.low : chosen.high].data)
        state.update(column.data[column.bounds[chosen.low] : column.bounds[chosen.high]].data)
        return state.hexdigest()

    def _digest_long(self, name: str, rows: npt.NDArray[np.int64]) -> str:
        state, cuts = xxhash.xxh3_128(), np.searchsorted(rows, self._firsts).tolist()
        parts = [rows[a:b] - first for a, b, first in zip(cuts, cuts[1:], self._firsts, strict=False)]
        columns = [columns[name] for columns in self._long]
        for column, part in zip(columns, parts, strict=True):
            state.update(column.lengths[part].data)
        for column, rows_of_part in zip(columns, parts, strict=True):
            part = rows_of_part[column.lengths[rows_of_part] >= 0]
            firsts = np.flatnonzero(np.diff(part, prepend=-2) != 1)
            begins = column.bounds[part[firsts]].tolist()
            ends = column.bounds[part[np.append(firsts[1:], len(part)) - 1] + 1].tolist() if len(part) else []
            for begin, end in zip(begins, ends, strict=True):
                state.update(column.data.data[begin:end])
        return state.hexdigest()


def _joined(column: pa.ChunkedArray) -> ColumnBytes:
    """A column of short values in one piece."""
    return _column(column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [_none(column)]))


def _none(column: pa.ChunkedArray) -> pa.Array:
    return pa.array([], column.type)


def _column(chunk: pa.Array) -> ColumnBytes:
    lengths, data = _without_hidden(*_chunk(chunk))
    return ColumnBytes(lengths, np.concatenate([[0], np.cumsum(np.maximum(lengths, 0))]), data)


def _as_it_lies(chunk: pa.Array) -> ColumnBytes:
    lengths, extents, data = _chunk(chunk)
    return ColumnBytes(lengths, np.concatenate([[0], np.cumsum(extents)]), data)


def _without_hidden(
    lengths: npt.NDArray[np.int64], extents: npt.NDArray[np.int64], data: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Leave out the bytes that lie under a null."""
    hidden = np.maximum(lengths, 0) != extents
    return lengths, data[np.repeat(~hidden, extents)] if hidden.any() else data


def _chunk(chunk: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Bytes of each value (-1: null), bytes that lie there for it, and all bytes."""
    kind = chunk.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_timestamp(kind):
        there = chunk.drop_null() if chunk.null_count else chunk
        values = (there.view(pa.int64()) if pa.types.is_timestamp(kind) else there).to_numpy()
        lengths = _lengths(chunk, np.full(len(chunk), values.dtype.itemsize))
        return lengths, np.maximum(lengths, 0), values.view(np.uint8)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        offsets = chunk.offsets.to_numpy().astype(np.int64)
        values = chunk.values.slice(offsets[0], offsets[-1] - offsets[0]).to_numpy(zero_copy_only=False)
        offsets, data = offsets * values.dtype.itemsize, np.ascontiguousarray(values).view(np.uint8)
    else:  # strings and bytes of any width
        if pa.types.is_fixed_size_binary(kind):
            chunk = chunk.cast(pa.binary())
        chunk = chunk if len(chunk) and chunk.type in NARROW else chunk.cast(pa.large_binary())
        _, places, text = chunk.buffers()
        width = np.int32 if chunk.type in NARROW else np.int64
        offsets = np.frombuffer(places, width, len(chunk) + 1, chunk.offset * np.dtype(width).itemsize).astype(np.int64)
        data = np.frombuffer(text, np.uint8)[offsets[0] : offsets[-1]] if text else np.zeros(0, np.uint8)
    extents = np.diff(offsets)
    return _lengths(chunk, extents), extents, data


def _lengths(chunk: pa.Array, extents: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.where(chunk.is_valid().to_numpy(zero_copy_only=False), extents, -1) if chunk.null_count else extents
