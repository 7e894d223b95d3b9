"""Do the sources still hold what the lake says they held?

Spans of committed windows are read again and curated as they were, and the ids that come of it, which are hashes of the
texts, are compared with the lake's, place by place. A file that is gone or another one now says nothing of the lake.
"""

from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from data_ops.lake.lake import Lake
from data_ops.sources.protocol import Span
from data_ops.sources.quarantine import NOT_AS_PLANNED

Curated = Callable[[str, Span], Iterator[pa.Table]]  # the rows of a span of a source, as curation makes them
COLUMNS = ["source", "partition", "offset", "id"]


@dataclass
class Comparison:
    """How many records were compared and what came of it; `gone` ones could not be."""

    spans: int = 0
    same: int = 0
    differing: int = 0
    gone: int = 0
    problems: list[str] = field(default_factory=list)


def compare_sources(lake: Lake, labels: Set[str], curated: Curated, num_spans: int | None) -> Comparison:
    """Read so many spans of these sources again, chosen by hash, or all of them (None)."""
    planned = [
        (window.window, label, span)
        for window in lake.windows()[0]
        for label, spans in window.spans.items()
        for span in spans
        if label in labels and span.num_records
    ]
    planned.sort(key=lambda each: xxhash.xxh3_64_intdigest(repr(each).encode()))
    result = Comparison()
    for window, label, span in sorted(planned[:num_spans], key=lambda each: (each[0], each[1])):
        rows = lake.documents(window, window, COLUMNS)
        rows = rows.filter(pc.and_(pc.equal(rows["source"], label), pc.equal(rows["partition"], span.partition)))
        kept = dict(zip(rows["offset"].to_pylist(), rows["id"].to_pylist(), strict=True))
        result.spans += 1
        if differing := _differing(kept, curated(label, span), result):
            result.problems.append(
                f"{label}: {span.partition} holds other texts than window {window} says at {len(differing)} of "
                f"{span.num_records} places, first at {differing[0]}"
            )
    return result


def _differing(kept: dict[int, bytes | None], tables: Iterator[pa.Table], result: Comparison) -> list[int]:
    differing: list[int] = []
    for table in tables:
        gone = pc.is_in(table["reason"], NOT_AS_PLANNED).to_pylist()
        for offset, name, is_gone in zip(table["offset"].to_pylist(), table["id"].to_pylist(), gone, strict=True):
            is_same = kept.get(offset, b"absent") == name
            result.gone += is_gone
            result.same += not is_gone and is_same
            if not is_gone and not is_same:
                differing.append(offset)
    result.differing += len(differing)
    return differing
