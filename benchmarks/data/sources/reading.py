"""How is a source read as ingest does, and how long does it take to see that nothing is new?"""

import time

from data_ops.sources.protocol import Cursor, Source


def count_good(source: Source, at_once: int) -> int:
    """Read everything, at most `at_once` records a look; how many records without an error."""
    cursor, good = Cursor(), 0
    while (found := source.discover(cursor, at_once)).spans:
        cursor = found.cursor
        for span in found.spans:
            good += sum(batch["error"].null_count for batch in source.read(span))
    return good


def looks_at_nothing(source: Source, cursor: Cursor, repeats: int) -> list[float]:
    """Milliseconds of each look behind the last record."""
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        source.discover(cursor, 10**6)
        taken.append(1e3 * (time.perf_counter() - began))
    return taken
