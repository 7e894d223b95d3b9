"""What is a document, how is it named, and which documents are never trained on?

One Arrow row from the moment it is read (`RECORD_SCHEMA`) to the lake (`DOCUMENT_SCHEMA`). Its id is the
128-bit xxh3 hash of its normalised text, so the same text is the same document wherever it came from.
xxh3 is not cryptographic: who chooses texts freely could construct a collision, and lose their own text.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from data_ops.kernels.arrays import ID, Ids, string_buffers
from data_ops.kernels.mixing import GOLDEN, mix64

TIME = pa.timestamp("us", tz="UTC")

#: What a source yields: one row per record, `offset` counting from 0 without gaps in its partition.
RECORD_SCHEMA = pa.schema(
    [
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("text", pa.string()),  # of a quarantined record: an escaped sample, at most 200 characters
        pa.field("event_time", TIME),
        pa.field("external_id", pa.string()),
        pa.field("num_bytes_read", pa.int64(), nullable=False),
        pa.field("error", pa.string()),  # null, or why the record is quarantined, or that there is none (ABSENT)
        pa.field("time_note", pa.string()),  # null, or "not_understood": a time is there, event_time is null
    ]
)

#: The lake's `documents` table: one row per record ever read, whatever became of it.
DOCUMENT_SCHEMA = pa.schema(
    [
        pa.field("window", pa.int64(), nullable=False),
        pa.field("position", pa.int64(), nullable=False),  # 0.. within the window, over all rows
        pa.field("id", ID),  # null if quarantined
        pa.field("source", pa.string(), nullable=False),
        pa.field("partition", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("external_id", pa.string()),
        pa.field("event_time", TIME),
        pa.field("arrived", TIME, nullable=False),
        pa.field("weight", pa.float64(), nullable=False),
        pa.field("fate", pa.string(), nullable=False),  # one of FATES
        pa.field("reason", pa.string()),  # null for kept and held_out; of a forgotten one the fate it had
        pa.field("time_note", pa.string()),  # null, "missing", "not_understood" or "clamped"
        pa.field(
            "num_bytes", pa.int64(), nullable=False
        ),  # UTF-8 bytes of the normalised text; of a conversation, of its answers
        pa.field("num_tokens", pa.int64(), nullable=False),  # length of tokens, 0 where there are none
        pa.field("text", pa.string()),  # null for dropped; a sample for quarantined
        pa.field(
            "tokens", pa.list_(pa.int32())
        ),  # kept and held_out only, without the document token; ~t: read, not learnt
    ]
)

FATES = ("kept", "held_out", "dropped", "quarantined", "forgotten")
#: The columns `curate` returns: window, position and the tokens come later.
CURATED_SCHEMA = pa.schema([f for f in DOCUMENT_SCHEMA if f.name not in ("window", "position", "num_tokens", "tokens")])

SAMPLE_CHARS = 200
HELD_OUT_SALT = 0x9E6C63D0876A9A35  # sets the held-out bits apart from the reservoir's, which share the seed


def document_id(text: str) -> bytes:
    """Name a normalised text: the 16-byte big-endian xxh3-128 digest of its UTF-8 bytes.

    >>> document_id("water").hex() == document_ids(pa.array(["water"]))[0].as_py().hex()
    True
    """
    return bytes(xxhash.xxh3_128_digest(text.encode()))


def document_ids(texts: pa.Array) -> pa.Array:
    """Name every text of a string array at once, as binary(16); a null text has a null id."""
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    offsets, data = string_buffers(texts)
    digest = xxhash.xxh3_128_digest
    bounds = offsets.tolist()
    digests = b"".join([digest(data[a:b]) for a, b in itertools.pairwise(bounds)])
    ids = pa.Array.from_buffers(ID, len(texts), [None, pa.py_buffer(digests)])
    return pc.if_else(texts.is_valid(), ids, None) if texts.null_count else ids


def is_held_out(ids: Ids, seed: int, share: float) -> npt.NDArray[np.bool_]:
    """Say which documents are never trained on: about `share` of them, a function of (seed, id) alone.

    The hash is salted apart from the reservoir's, so being held out says nothing about a key there.
    A larger share holds out a superset.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"held_out_share={share} is not a share; use a number from 0 to 1")
    if share == 1:
        return np.ones(len(ids), dtype=np.bool_)
    start = mix64(np.array([(seed ^ HELD_OUT_SALT) % 2**64], dtype=np.uint64) + GOLDEN)
    bits = mix64((mix64((ids[:, 0] ^ start) + GOLDEN) ^ ids[:, 1]) + GOLDEN)
    result: npt.NDArray[np.bool_] = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53 < share
    return result


def sample_of(raw: bytes | str) -> str:
    """Show a raw record that could not be read: escaped, printable, at most 200 characters.

    >>> sample_of(bytes([0x7B, 0xFF]))
    '{\\\\xff'
    """
    if isinstance(raw, str):
        raw = raw[:SAMPLE_CHARS].encode("utf-8", "surrogatepass")
    return repr(raw[:SAMPLE_CHARS])[2:-1][:SAMPLE_CHARS]


def records(rows: Mapping[str, Sequence[object] | pa.Array]) -> pa.RecordBatch:
    """Build one RECORD_SCHEMA batch from columns; a missing nullable column is all null."""
    num_rows = len(rows["offset"])
    columns = [
        rows[f.name]
        if isinstance(rows.get(f.name), pa.Array)
        else pa.array(rows[f.name], type=f.type)
        if f.name in rows
        else pa.nulls(num_rows, f.type)
        for f in RECORD_SCHEMA
    ]
    return pa.RecordBatch.from_arrays(columns, schema=RECORD_SCHEMA)
