"""Is a source named that gives only quarantine, or times that nobody understands, once and with a sample?"""

import pyarrow as pa
import pytest

from data_ops.ingest.health import SourceHealth

COLUMNS = ("source", "fate", "reason", "time_note", "partition", "offset", "text")


def window(*rows: tuple) -> pa.Table:
    """Rows of (source, fate, reason, time_note)."""
    whole = [(*row, f"/{row[0]}.jsonl", number, f"text {number}") for number, row in enumerate(rows)]
    columns = {name: [row[i] for row in whole] for i, name in enumerate(COLUMNS)}
    return pa.table({n: pa.array(v, pa.int64() if n == "offset" else pa.string()) for n, v in columns.items()})


GOOD, BAD = ("a", "kept", None, None), ("a", "quarantined", "missing_text", None)


def test_a_source_that_gives_mostly_quarantine_is_named_with_reason_sample_and_counts():
    health = SourceHealth(frozenset())
    (sentence,) = health.take(window(GOOD, BAD, BAD, ("b", "kept", None, None)))
    assert (
        "source a: 2 of 3 records" in sentence
        and "missing text 2" in sentence
        and "/a.jsonl record 1: text 1" in sentence
    )
    assert health.take(window(BAD)) == [], "it was said"
    (sentence,) = health.take(window(*[BAD] * 20))
    assert "23 of 24" in sentence


@pytest.mark.parametrize(("size", "times"), [(1, 2), (400, 1)])
def test_a_good_past_does_not_hide_a_source_that_has_become_bad(size, times):
    health = SourceHealth(frozenset())
    assert health.take(window(*[GOOD] * 5000)) == []
    sentences = [each for _ in range(400 // size) for each in health.take(window(*[BAD] * size))]
    assert len(sentences) == times and "of its last" in sentences[0] and "missing text" in sentences[0]


def test_a_few_bad_records_are_no_alarm():
    health = SourceHealth(frozenset("a"))
    assert health.take(window(GOOD, GOOD, BAD)) == health.sum() == []


def test_times_that_were_not_taken_as_they_are_are_counted_by_source():
    notes = ["missing", "not_understood", "not_understood", "clamped", None]
    health = SourceHealth(frozenset("a"))
    (sentence,) = health.take(window(*(("a", "kept", None, note) for note in notes)))
    assert "source a: of 5 records 4" in sentence and "1 missing, 2 not understood, 1 before 1970" in sentence
    assert health.take(window(("a", "kept", None, "missing"))) == []
    assert "of 6 records 5" in health.sum()[0] and health.sum() == []
    assert SourceHealth(frozenset()).take(window(("a", "kept", None, "missing"))) == [], "no time was promised"
