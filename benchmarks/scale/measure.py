"""Rows for `python -m benchmarks scale`: what grows with a store, and what does not."""

from benchmarks.rows import Row
from benchmarks.scale import ids, near, starts


def measure(quick: bool) -> list[Row]:
    """Known ids and sketches by themselves, then a start of the histories over a real lake."""
    return [*ids.measure(quick), *near.measure(quick), *starts.measure(quick)]
