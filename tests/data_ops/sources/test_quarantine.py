"""Does a record that kills its reader cost only its own place, whatever the source?"""

from dataclasses import replace

import pytest

from data_ops.documents.document import records
from data_ops.sources.protocol import ChangedError, Span
from data_ops.sources.quarantine import read_span

SPAN = Span("log/3", 100, 50, 1000, 1050, 0.0)


class Log:
    """A source that seeks by records; the poisoned ones raise, after a batch of ten was given."""

    def __init__(self, *poison: int, error: Exception | None = None) -> None:
        self.poison, self.error, self.reads = set(poison), error or KeyError("nobody thought of this"), 0

    def read(self, span):
        self.reads += 1
        for first in range(span.first_record, span.first_record + span.num_records, 10):
            offsets = list(range(first, min(first + 10, span.first_record + span.num_records)))
            if self.poison & set(offsets):
                raise self.error
            yield records({"offset": offsets, "text": [f"text {o}" for o in offsets], "num_bytes_read": offsets})


def rows(source, span=SPAN):
    return [row for batch in read_span(source, span) for row in batch.to_pylist()]


@pytest.mark.parametrize("poison", [(), (100,), (149,), (117, 118, 131), tuple(range(100, 150))])
def test_a_killer_costs_its_own_place(poison):
    source = Log(*poison)
    read = rows(source)
    assert [row["offset"] for row in read] == list(range(100, 150))
    assert {row["offset"] for row in read if row["error"] == "kills_reader"} == set(poison)
    assert all("KeyError" in row["text"] for row in read if row["error"])
    assert source.reads <= 1 + 2 * 6 * max(len(poison), 1)


def test_where_positions_are_not_records_the_rest_of_the_span_is_quarantined():
    read = rows(Log(117), replace(SPAN, end=9999))
    assert [row["error"] for row in read] == [None] * 10 + ["kills_reader"] * 40


@pytest.mark.parametrize("error", [OSError("AWS Error NETWORK_CONNECTION"), MemoryError(), ConnectionError("reset")])
def test_what_may_pass_is_raised(error):
    with pytest.raises(type(error)):
        rows(Log(117, error=error))


def test_a_source_that_gives_more_or_less_than_planned_never_stops_a_window():
    class Other(Log):
        def __init__(self, count):
            super().__init__()
            self.count = count

        def read(self, span):
            yield from super().read(replace(span, num_records=self.count))

    assert [row["error"] for row in rows(Other(60))] == [None] * 50
    assert [row["error"] for row in rows(Other(20))] == [None] * 20 + ["changed_before_read"] * 30
    assert issubclass(ChangedError, ValueError)
