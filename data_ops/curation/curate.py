"""Which records become documents, and why do the others not?

Each record is normalised, named by its hash, marked as held out or not, and put before the rules, which keep,
rewrite or drop it with a reason; every record leaves as one row with its fate, so nothing is lost uncounted.
Rules see a batch as one Arrow array: it makes them fast, and a new one is a function of arrays, not strings.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_ops.curation.rules import RULES, CurateConfig, Flags
from data_ops.documents.document import CURATED_SCHEMA, TIME, document_ids, held_out
from data_ops.kernels.arrays import ids_to_array, string_buffers

DAY_US = 86_400_000_000


def curate(
    records: pa.RecordBatch | pa.Table,
    config: CurateConfig,
    *,
    source: str,
    partition: str,
    weight: float,
    modified_s: float,
    arrived_s: float,
    seed: int,
    held_out_share: float,
) -> pa.Table:
    """Turn records (RECORD_SCHEMA) into one row each of CURATED_SCHEMA, in the same order.

    A missing event time becomes `modified_s`; one before 1970 or over a day after `modified_s` is clamped, so
    the result does not depend on when this runs. A held-out document that a rule drops is dropped.
    """
    from data_ops.kernels.normalise import normalise  # numba, 0.5 s: who only reads the settings does without

    num_rows = records.num_rows
    errors = _column(records, "error")
    bad = errors.is_valid().to_numpy(zero_copy_only=False)
    raw = _column(records, "text")
    texts = normalise(pc.if_else(pa.array(bad), "", raw.fill_null("")) if bad.any() else raw.fill_null(""))
    ids = document_ids(texts)
    reasons, texts = _judge(texts, bad, config)
    dropped = reasons.is_valid().to_numpy(zero_copy_only=False)
    is_held_out = held_out(ids_to_array(ids), seed, held_out_share)
    fates = np.select([bad, dropped, is_held_out], ["quarantined", "dropped", "held_out"], "kept")
    times, notes = _times(_column(records, "event_time"), bad, modified_s)
    offsets, _ = string_buffers(texts)
    columns = {
        "id": pc.if_else(pa.array(bad), None, ids),
        "source": pa.repeat(pa.scalar(source), num_rows),
        "partition": pa.repeat(pa.scalar(partition), num_rows),
        "offset": _column(records, "offset"),
        "external_id": _column(records, "external_id"),
        "event_time": times,
        "arrived": pa.repeat(pa.scalar(round(arrived_s * 1e6), TIME), num_rows),
        "weight": pa.repeat(pa.scalar(float(weight)), num_rows),
        "fate": pa.array(fates, pa.string()),
        "reason": pc.coalesce(errors, reasons),
        "time_note": notes,
        "num_bytes": pa.array(np.diff(offsets), pa.int64()),
        "text": _stored(texts, raw, bad, dropped),
    }
    return pa.Table.from_arrays([columns[f.name] for f in CURATED_SCHEMA], schema=CURATED_SCHEMA)


def _column(records: pa.RecordBatch | pa.Table, name: str) -> pa.Array:
    column = records.column(name)
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _stored(texts: pa.Array, raw: pa.Array, bad: Flags, dropped: Flags) -> pa.Array:
    """Keep the text, for a quarantined record its sample, for a dropped one nothing."""
    if dropped.any():
        texts = pc.if_else(pa.array(dropped), pa.scalar(None, pa.string()), texts)
    return pc.if_else(pa.array(bad), raw, texts) if bad.any() else texts


def _judge(texts: pa.Array, bad: Flags, config: CurateConfig) -> tuple[pa.Array, pa.Array]:
    """Apply the rules in order, each to what is left; return reasons (null: kept) and new texts."""
    names = ["empty", *config.rules]
    reason = np.full(len(texts), -1, dtype=np.int8)  # an index into names
    offsets, _ = string_buffers(texts)
    reason[(np.diff(offsets) == 0) & ~bad] = 0
    rows = np.flatnonzero((reason < 0) & ~bad)
    left = texts if len(rows) == len(texts) else texts.take(pa.array(rows))
    for number, name in enumerate(config.rules, start=1):
        verdict = RULES[name](left, config)
        if verdict.texts is not None:
            left = verdict.texts
            rewritten = np.zeros(len(texts), dtype=np.bool_)
            rewritten[rows] = True
            texts = pc.replace_with_mask(texts, pa.array(rewritten), left)
        if verdict.drop.any():
            reason[rows[verdict.drop]] = number
            rows, left = rows[~verdict.drop], left.filter(pa.array(~verdict.drop))
    indices = pa.array(reason, pa.int8(), mask=reason < 0)
    return pc.take(pa.array(names, pa.string()), indices), texts


def _times(times: pa.Array, bad: Flags, modified_s: float) -> tuple[pa.Array, pa.Array]:
    """Fill and clamp event times; quarantined records keep what they have."""
    missing = times.is_null().to_numpy(zero_copy_only=False) & ~bad
    modified_us = max(round(modified_s * 1e6), 0)
    given = times.cast(pa.int64()).fill_null(modified_us).to_numpy(zero_copy_only=False)
    inside = np.clip(given, 0, modified_us + DAY_US)
    clamped = (inside != given) & ~bad
    no_time = times.is_null().to_numpy(zero_copy_only=False) & bad
    notes = np.select([missing, clamped], ["missing", "clamped"], "")
    filled = np.where(bad, given, inside)
    return (
        pa.array(filled, pa.int64(), mask=no_time).cast(TIME),
        pa.array(notes, pa.string(), mask=~(missing | clamped)),
    )
