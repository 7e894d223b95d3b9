"""How do Arrow columns become NumPy arrays, and back, without a copy a row, and what are the arrays called?"""

import itertools

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

ID = pa.binary(16)
Ids = npt.NDArray[np.uint64]  # [n, 2]: high and low 64 bits of a document id
Words = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
TAKEN_AT_ONCE = 1 << 30  # bytes of a table that `take` puts into one piece; text ends there at 2 GiB


def string_buffers(texts: pa.Array) -> tuple[npt.NDArray[np.int64], memoryview]:
    """Look into a string array: its len+1 byte offsets and its UTF-8 bytes, without copying the text."""
    wide = pa.types.is_large_string(texts.type)
    dtype = np.int64 if wide else np.int32
    _, offsets, data = texts.buffers()
    if offsets is None or len(texts) == 0:
        return np.zeros(1, dtype=np.int64), memoryview(b"")
    start = texts.offset * np.dtype(dtype).itemsize
    bounds = np.frombuffer(offsets, dtype=dtype, count=len(texts) + 1, offset=start).astype(np.int64)
    return bounds, memoryview(data if data is not None else b"").cast("B")


def ids_to_array(ids: pa.Array) -> Ids:
    """Turn binary(16) ids without nulls into uint64[n,2]: column 0 the high 64 bits, column 1 the low."""
    if isinstance(ids, pa.ChunkedArray):
        ids = ids.combine_chunks()
    if ids.null_count:
        raise ValueError(f"{ids.null_count} of {len(ids)} ids are null; filter quarantined rows out first")
    if ids.type != ID:
        ids = ids.cast(ID)
    if len(ids) == 0:
        return np.empty((0, 2), dtype=np.uint64)
    words = np.frombuffer(ids.buffers()[1], dtype=">u8", count=2 * len(ids), offset=16 * ids.offset)
    return words.astype(np.uint64).reshape(-1, 2)


def array_to_ids(ids: Ids) -> pa.Array:
    """Turn uint64[n,2] back into binary(16) ids; the inverse of `ids_to_array`."""
    if ids.ndim != 2 or ids.shape[1] != 2:
        raise ValueError(f"ids of shape {ids.shape} are not n rows of 2 words; reshape to (n, 2)")
    return pa.Array.from_buffers(ID, len(ids), [None, pa.py_buffer(ids.astype(">u8").tobytes())])


def in_order(table: pa.Table, major: str, minor: str) -> pa.Table:
    """Put rows in the order of two integer columns; a chunk's rows of one `major` follow one another.

    A large table stays in pieces: a column of text or tokens in one piece ends at 2^31.
    """
    majors, minors = table[major].to_numpy(), table[minor].to_numpy()
    changes = np.diff(majors)
    back = (changes < 0) | ((changes == 0) & (np.diff(minors) < 0))
    if not back.any():
        return table
    if table.nbytes < TAKEN_AT_ONCE:
        return table.take(pc.sort_indices(table, sort_keys=[(major, "ascending"), (minor, "ascending")]))
    ends = np.cumsum([len(chunk) for chunk in table[major].chunks])
    cuts = np.unique([0, *(np.flatnonzero((changes != 0) | back) + 1), *ends]).tolist()
    runs = sorted(itertools.pairwise(cuts), key=lambda run: (majors[run[0]], minors[run[0]]))
    return pa.concat_tables([table.slice(start, stop - start) for start, stop in runs])
