"""What do the sources still say that the lake does not keep: the texts of dropped records, and what a rule drops alone?

The lake keeps no text of what it drops, and no rule sees what those before it dropped. Both are had by reading spans of
committed windows again, as far as their files or logs are still there.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from data_ops.curation.rules.rule import Rule, Texts
from data_ops.documents.document import document_ids
from data_ops.documents.place import Place
from data_ops.documents.spelling import normalised
from data_ops.lake.lake import Lake
from data_ops.sources.protocol import Span
from data_ops.survey.samples import Record

#: The records of a span of a source; those that are gone have an error.
Read = Callable[[str, Span], Iterator[pa.RecordBatch]]
SPANS_JUDGED, RECORDS_OF_SPAN = 20, 200  # of each source


@dataclass(frozen=True)
class Alone:
    """Of so many records of a source, read again, so many a rule drops that sees them as they came."""

    source: str
    reason: str
    records: int
    dropped: int


def texts_again(lake: Lake, records: Iterable[Record], read: Read) -> dict[Place, str]:
    """Texts of these records as their sources hold them now; only where the hash of a text is still the record's id."""
    windows = {window.window: window.spans for window in lake.windows()[0]}
    wanted: dict[tuple[str, Span], dict[int, Record]] = {}
    for record in records:
        for span in windows[record.window].get(record.source, []):
            is_there = span.first_record <= record.offset < span.first_record + span.num_records
            if span.partition == record.partition and is_there and record.id is not None:
                wanted.setdefault((record.source, span), {})[record.offset] = record
    found = {}
    for (source, span), by_offset in wanted.items():
        for batch in read(source, span):
            rows = np.flatnonzero(np.isin(batch.column("offset").to_numpy(), list(by_offset)))
            chosen = batch.take(pa.array(rows))
            texts = normalised(chosen.column("text").fill_null(""))
            triples = zip(chosen.column("offset"), texts, document_ids(texts), strict=True)
            for offset, text, name in ((a.as_py(), b.as_py(), c.as_py()) for a, b, c in triples):
                record = by_offset[offset]
                if name == record.id:
                    found[Place(record.window, record.position)] = text
    return found


def dropped_alone(lake: Lake, rules: Mapping[str, Mapping[str, Rule]], read: Read) -> list[Alone]:
    """Let each rule judge a sample of each source by itself: the beginnings of spans that are chosen by hash.

    rules: those of each source, by the reason they give. A source whose spans are gone is left out.
    """
    planned: dict[str, list[Span]] = {source: [] for source in rules}
    for window in lake.windows()[0]:
        for source in window.spans.keys() & rules.keys():
            planned[source] += [span for span in window.spans[source] if span.num_records]
    found = []
    for source, spans in sorted(planned.items()):
        spans.sort(key=lambda span: xxhash.xxh3_64_intdigest(repr((span.partition, span.first_record)).encode()))
        counts, records = dict.fromkeys(rules[source], 0), 0
        for span in spans[:SPANS_JUDGED]:
            for texts in _first_texts(source, read(source, span)):
                records += len(texts)
                for reason, rule in rules[source].items():
                    counts[reason] += int(rule.judge(texts).drop.sum())
        found += [Alone(source, reason, records, number) for reason, number in counts.items() if records]
    return found


def _first_texts(source: str, batches: Iterator[pa.RecordBatch]) -> Iterator[Texts]:
    """The first records of a span that have a text, as a rule is shown them."""
    left = RECORDS_OF_SPAN
    for batch in batches:
        batch = batch.slice(0, left)
        left -= batch.num_rows
        batch = batch.filter(pc.and_(batch.column("error").is_null(), batch.column("text").is_valid()))
        texts = normalised(batch.column("text"))
        named = pa.repeat(pa.scalar(source), len(texts))
        told = Texts(texts, document_ids(texts), named, batch.column("external_id"), batch.column("event_time"))
        told = told.keep(pc.not_equal(texts, "").to_numpy(zero_copy_only=False))
        if len(told):
            yield told
        if not left:
            return
