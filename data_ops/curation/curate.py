"""Which records become documents, and why do the others not?

Each record is normalised, named by its hash, marked as held out or not, and put before the rules, which keep,
rewrite or drop it with a reason; every record leaves as one row with its fate, so nothing is lost uncounted.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_ops.curation.config import CurateConfig
from data_ops.curation.rules.rule import Rule, RuleVerdict, Texts
from data_ops.documents.document import CURATED_SCHEMA, TIME, document_ids, is_held_out
from data_ops.documents.reasons import ABSENT
from data_ops.documents.spelling import normalised
from data_ops.kernels.arrays import Bools, ids_to_array, string_buffers

DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Provenance:
    """Where the records of a batch are from: one partition of one source, read into one window.

    modified_s: when the partition was last written; arrived_s: when the window was planned; seconds since 1970.
    """

    source: str
    partition: str
    weight: float
    modified_s: float
    arrived_s: float


def curate(
    records: pa.RecordBatch | pa.Table,
    config: CurateConfig,
    provenance: Provenance,
    *,
    seed: int,
    held_out_share: float,
) -> pa.Table:
    """Turn records (RECORD_SCHEMA) into one row each of CURATED_SCHEMA, in the same order.

    An event time that is missing or not understood becomes `modified_s`; one before 1970 or over a day after both
    `arrived_s`, which is the window's, and `modified_s` is clamped. The file's time makes no time earlier: archives
    and images set it to 1980; but what a partition says of itself may lie ahead of our clock. A held-out document
    that a rule drops is dropped, and so is a place that holds no document (ABSENT).
    """
    num_rows = records.num_rows
    errors = _column(records, "error")
    bad = pc.and_(errors.is_valid(), pc.invert(pc.is_in(errors, pa.array(ABSENT)))).to_numpy(zero_copy_only=False)
    raw = _column(records, "text")
    normal = normalised(pc.if_else(pa.array(bad), "", raw.fill_null("")) if bad.any() else raw.fill_null(""))
    sources = pa.repeat(pa.scalar(provenance.source), num_rows)
    times, notes = _times(records, bad, provenance.modified_s, provenance.arrived_s)
    documents = Texts(normal, document_ids(normal), sources, _column(records, "external_id"), times)
    reasons, texts = _judge(documents, bad, config.chain_of(provenance.source))
    dropped = reasons.is_valid().to_numpy(zero_copy_only=False)
    evaluated = is_held_out(ids_to_array(documents.id), seed, held_out_share)
    fates = np.select([bad, dropped, evaluated], ["quarantined", "dropped", "held_out"], "kept")
    offsets, _ = string_buffers(texts)
    columns = {
        "id": pc.if_else(pa.array(bad), None, documents.id),
        "source": sources,
        "partition": pa.repeat(pa.scalar(provenance.partition), num_rows),
        "offset": _column(records, "offset"),
        "external_id": documents.external_id,
        "event_time": times,
        "arrived": pa.repeat(pa.scalar(round(provenance.arrived_s * 1e6), TIME), num_rows),
        "weight": pa.repeat(pa.scalar(float(provenance.weight)), num_rows),
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


def _stored(texts: pa.Array, raw: pa.Array, bad: Bools, dropped: Bools) -> pa.Array:
    """Keep the text, for a quarantined record its sample, for a dropped one nothing."""
    if dropped.any():
        texts = pc.if_else(pa.array(dropped), pa.scalar(None, pa.string()), texts)
    return pc.if_else(pa.array(bad), raw, texts) if bad.any() else texts


def _judge(documents: Texts, bad: Bools, chain: Mapping[str, Rule]) -> tuple[pa.Array, pa.Array]:
    """Apply the rules in order, each to what is left; return reasons (null: kept) and new texts."""
    texts = documents.text
    offsets, _ = string_buffers(texts)
    empty = np.diff(offsets) == 0
    reason = np.where(empty & ~bad, 0, -1).astype(np.int16)  # an index into names
    left = ~empty & ~bad
    rows, batch = np.flatnonzero(left), documents if left.all() else documents.keep(left)
    for number, (name, rule) in enumerate(chain.items(), start=1):
        verdict = _checked(name, rule.judge(batch), len(batch))
        if verdict.text is not None:
            batch = batch.rewritten(verdict.text)
            rewritten = np.zeros(len(texts), dtype=np.bool_)
            rewritten[rows] = True
            texts = pc.replace_with_mask(texts, pa.array(rewritten), batch.text)
        if verdict.drop.any():
            reason[rows[verdict.drop]] = number
            rows, batch = rows[~verdict.drop], batch.keep(~verdict.drop)
    indices = pa.array(reason, pa.int16(), mask=reason < 0)
    return pc.take(pa.array(["empty", *chain], pa.string()), indices), texts


def _checked(name: str, verdict: RuleVerdict, count: int) -> RuleVerdict:
    """Return a rule's verdict; ValueError, naming the rule, where it does not fit the batch."""
    if verdict.drop.dtype != np.bool_ or verdict.drop.shape != (count,):
        got = f"{verdict.drop.dtype}{list(verdict.drop.shape)}"
        raise ValueError(f"the rule {name} answers with {got} for {count} texts; mend it to give bool[{count}]")
    if verdict.text is not None and (len(verdict.text) != count or verdict.text.null_count):
        got = f"{len(verdict.text)} texts, {verdict.text.null_count} of them null,"
        raise ValueError(f"the rule {name} rewrites {count} texts into {got}; mend it to give each anew")
    return verdict


def _times(
    records: pa.RecordBatch | pa.Table, bad: Bools, modified_s: float, arrived_s: float
) -> tuple[pa.Array, pa.Array]:
    """Fill and clamp event times; quarantined records keep what they have."""
    times, noted = _column(records, "event_time"), _column(records, "time_note")
    absent = times.is_null().to_numpy(zero_copy_only=False)
    given = times.cast(pa.int64()).fill_null(max(round(modified_s * 1e6), 0)).to_numpy(zero_copy_only=False)
    inside = np.clip(given, 0, round(max(arrived_s, modified_s) * 1e6) + DAY_US)
    notes = pc.coalesce(noted, pa.array(np.where(absent, "missing", "clamped"), pa.string()))
    noteworthy = (absent | (inside != given)) & ~bad
    return (
        pa.array(np.where(bad, given, inside), pa.int64(), mask=absent & bad).cast(TIME),
        pc.if_else(pa.array(noteworthy), notes, pa.scalar(None, pa.string())),
    )
