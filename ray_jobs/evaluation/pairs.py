"""Which items were two models asked, and what did each pay for them?"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ray_jobs.evaluation.bounds import Array, PairedItems
from ray_jobs.evaluation.tasks.task import Scores


@dataclass(frozen=True)
class Pairs:
    """Items that both models were asked, sorted by id. slices: "source/2026-01"; fresh: to the champion."""

    sample: PairedItems
    slices: Array
    sources: Array
    fresh: Array

    def of(self, keep: Array) -> "Pairs":
        """Return the documents of a mask."""
        one = self.sample
        sample = PairedItems(one.sizes[keep], one.before[keep], one.after[keep], one.days[keep], one.unit, one.span)
        return Pairs(sample, self.slices[keep], self.sources[keep], self.fresh[keep])


def pair(candidate: Scores, reference: Scores, text: pa.Table | None = None) -> Pairs:
    """Join the scores of two models by id, as far as `text` (id, day, fresh) knows the item.

    Without text every item is a day of its own, and none fresh. Where more is better, more costs less than nothing.
    Raises ValueError for ids that are not 16 bytes or repeated, and for items without size.
    """
    _check(candidate.table, "candidate")
    _check(reference.table, "reference")
    before = reference.table.select(["id", "total"]).rename_columns(["id", "before"])
    joined = candidate.table.join(before, "id", join_type="inner")
    if text is not None:
        known = text.select(["day", "fresh"]).append_column("id", text["id"].cast(pa.binary()))
        joined = joined.join(known, "id", join_type="inner")
    joined = joined.sort_by("id")
    sign = 1.0 if candidate.better == "lower" else -1.0
    costs = [sign * column(joined, name) for name in ("before", "total")]
    slices = np.array(joined["slice"].to_pylist(), dtype=object).astype(str)
    days = np.arange(len(slices)) if text is None else np.array(joined["day"].to_pylist(), dtype=object).astype(str)
    return Pairs(
        PairedItems(
            column(joined, "size"),
            costs[0],
            costs[1],
            np.unique(days, return_inverse=True)[1],
            candidate.unit,
            candidate.span,
        ),
        slices,
        np.array([name.partition("/")[0] for name in slices.tolist()], dtype=object).astype(str),
        np.zeros(len(slices), bool) if text is None else np.array(joined["fresh"].to_pylist(), dtype=bool),
    )


def column(table: pa.Table, name: str) -> Array:
    """Return a column as float64, null as NaN."""
    return np.asarray(table[name].cast(pa.float64()).to_numpy(), dtype=np.float64)


def not_finite(scores: Scores, whose: str) -> str | None:
    """Tell where a figure is no number; None where all are."""
    bad = ~np.isfinite(column(scores.table, "total"))
    if not bad.any():
        return None
    names = zip(scores.table["slice"].to_pylist(), bad, strict=True)
    shown = sorted({str(name) for name, is_bad in names if is_bad})
    places = ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "")
    return f"the {whose}'s loss is not finite on {bad.sum():,} of {len(bad):,} held-out documents ({places})"


def _check(table: pa.Table, whose: str) -> None:
    ids, empty = table["id"].to_pylist(), int((column(table, "size") <= 0).sum())
    repeated = len(ids) - len(set(ids))
    if odd := next((x for x in ids if x is None or len(x) != 16), b""):
        raise ValueError(f"the {whose}'s table has the id {odd!r}; ids are 16 bytes, use document_id")
    if repeated:
        raise ValueError(f"the {whose}'s table repeats {repeated} ids; ask each item once")
    if empty:
        raise ValueError(f"the {whose}'s table has {empty} items with size <= 0; leave them out")
