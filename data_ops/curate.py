"""Which records become documents, and why do the others not?

Each record is normalised, named by its hash, marked as held out or not, and put before the rules, which keep,
rewrite or drop it with a reason; every record leaves as one row with its fate, so nothing is lost uncounted.
Rules see a batch as one Arrow array: it makes them fast, and a new one is a function of arrays, not strings.
"""

import difflib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator

from cluster.units import Settings, Share
from data_ops.document import CURATED_SCHEMA, TIME, document_ids, held_out, ids_to_array, string_buffers

DAY_US = 86_400_000_000
Flags = npt.NDArray[np.bool_]


class CurateConfig(Settings):
    """What a text has to be like. The defaults pass prose and source code alike, and stop debris."""

    rules: tuple[str, ...] = Field(
        default_factory=lambda: tuple(RULES), description="The rules to apply, in this order; default all."
    )
    min_chars: int = Field(20, ge=0, le=1_000_000, description="A shorter text is dropped (too_short).")
    max_chars: int = Field(2_000_000, ge=1, le=500_000_000, description="A longer text is dropped (too_long).")
    min_letter_share: Share = Field(0.3, description="Letters among the characters that are not white space.")
    max_digit_share: Share = Field(0.5, description="Digits among the characters that are not white space.")
    max_symbol_share: Share = Field(0.5, description="Neither letter nor digit, among those not white space.")
    max_repeated_char_share: Share = Field(0.5, description="Characters equal to the one before them, likewise.")

    @field_validator("rules")
    @classmethod
    def _rules_exist(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in RULES:
                close = difflib.get_close_matches(name, RULES, n=1, cutoff=0.4)
                hint = f"did you mean {close[0]!r}?" if close else f"use some of {', '.join(RULES)}"
                raise ValueError(f"there is no rule {name!r}; {hint}")
        if len(set(names)) < len(names):
            raise ValueError(f"rules={list(names)} names a rule twice; name each once")
        return names


class Verdict(NamedTuple):
    """What a rule says about a batch: bool[n] of texts to drop and, if it rewrites, all n texts anew."""

    drop: Flags
    texts: pa.Array | None = None


#: A rule sees normalised texts (string[n], no nulls, none empty); their order must not matter.
Rule = Callable[[pa.Array, CurateConfig], Verdict]


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
    from data_ops.normalise import normalise  # numba, 0.5 s: who only reads the settings does without

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


def too_short(texts: pa.Array, config: CurateConfig) -> Verdict:
    """Drop texts of fewer than `min_chars` characters."""
    return Verdict(pc.utf8_length(texts).to_numpy(zero_copy_only=False) < config.min_chars)


def too_long(texts: pa.Array, config: CurateConfig) -> Verdict:
    """Drop texts of more than `max_chars` characters."""
    return Verdict(pc.utf8_length(texts).to_numpy(zero_copy_only=False) > config.max_chars)


def _character_counts(texts: pa.Array) -> npt.NDArray[np.int64]:
    from data_ops.characters import character_counts  # numba, as above

    return character_counts(texts)


def few_letters(texts: pa.Array, config: CurateConfig) -> Verdict:
    """Drop texts with too few letters: tables, dumps, rules of dashes."""
    letters, _, _, visible = _character_counts(texts)
    return Verdict(letters < config.min_letter_share * visible)


def many_digits(texts: pa.Array, config: CurateConfig) -> Verdict:
    """Drop texts that are mostly numbers."""
    _, digits, _, visible = _character_counts(texts)
    return Verdict(digits > config.max_digit_share * visible)


def many_symbols(texts: pa.Array, config: CurateConfig) -> Verdict:
    """Drop texts that are mostly neither letters nor digits: markup, emoji, minified code."""
    letters, digits, _, visible = _character_counts(texts)
    return Verdict(visible - letters - digits > config.max_symbol_share * visible)


def repeated_characters(texts: pa.Array, config: CurateConfig) -> Verdict:
    """Drop texts where too many characters repeat the one before: `aaaaaaa`, `=======`."""
    _, _, repeated, visible = _character_counts(texts)
    return Verdict(repeated > config.max_repeated_char_share * visible)


#: The one place where a rule is made known; the key is the reason a dropped document carries.
RULES: dict[str, Rule] = {
    "too_short": too_short,
    "too_long": too_long,
    "few_letters": few_letters,
    "many_digits": many_digits,
    "many_symbols": many_symbols,
    "repeated_characters": repeated_characters,
}
