"""Is every row planned once, whatever the cursor has seen, and is a table that is another one known as such?"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_ops.sources.sql.reached import KeyReached, Mark, Page, TableOrigin, TableStart, page_spans, table_start

ORIGIN = TableOrigin("7001", 1, "5/100")
KNOWN = KeyReached(*ORIGIN, ("900", "17"), 40)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 5), st.booleans()), max_size=25))
def test_pages_follow_one_another_without_gap_and_the_cursor_comes_back_from_json(steps):
    """Each step adds rows, plans some pages of what is there behind the cursor, and may make the table anew."""
    rows, known, number, life, read = list[int](), None, 0, 0, list[tuple[int, int]]()
    for added, most, anew in steps:
        if anew:
            rows, life = [], life + 1
        rows += range(len(rows) + 1, len(rows) + 1 + added)
        start = table_start(
            known and KeyReached.of(json.loads(json.dumps(known))), TableOrigin("1", 1, str(life)), None
        )
        behind = [row for row in rows if start.entry.key is None or row > int(start.entry.key[0])][: 2 * most]
        pages = [Page(len(part), (str(part[-1]),), 10 * len(part)) for part in (behind[:most], behind[most:]) if part]
        spans, known = page_spans("docs", start, pages, 0.0)
        assert bool(start.loss) == (bool(spans) and spans[0].num_records == 0)
        for span in spans:
            assert (span.first_record, span.end - span.start) == (number, span.num_records)
            number += span.num_records
            if not span.loss:
                mark = Mark.of(span)
                assert (mark.first_record, mark.num_records) == (span.first_record, span.num_records)
                taken = [
                    row for row in rows if (mark.after is None or row > int(mark.after[0])) and row <= int(mark.last[0])
                ]
                assert len(taken) == mark.num_records
                read += [(life, row) for row in taken]
        assert known.num_records == number == len(read)
    assert len(set(read)) == len(read)


@pytest.mark.parametrize(
    ("origin", "last_number", "reason"),
    [
        (ORIGIN, 1000, ""),
        (ORIGIN, None, ""),
        (ORIGIN, 900, ""),
        (ORIGIN, 899, "numbered_anew"),
        (ORIGIN._replace(table="5/101"), 1000, "created_again"),
        (ORIGIN._replace(system="7002"), 1000, "restored"),
        (ORIGIN._replace(timeline=2), 1000, "promoted"),
        (ORIGIN._replace(timeline=2), 10, "numbered_anew"),
        (ORIGIN._replace(system="", timeline=0), 1000, ""),
    ],
)
def test_another_table_of_the_name_is_known_by_where_it_comes_from(origin: TableOrigin, last_number: int, reason: str):
    entry, loss = table_start(KNOWN, origin, last_number)
    assert loss == reason and entry.num_records == 40
    assert entry.key == (KNOWN.key if reason in ("", "promoted") else None), "what is another is read from its start"


def test_a_loss_is_a_span_of_no_records_before_the_others_and_no_reason_to_skip_ordinals():
    spans, entry = page_spans("docs", TableStart(KNOWN, "promoted"), [Page(3, ("901", "2"), 30)], 5.0)
    assert [(s.loss, s.first_record, s.num_records) for s in spans] == [("promoted", 40, 0), ("", 40, 3)]
    assert entry == KNOWN._replace(key=("901", "2"), num_records=43)


def test_a_table_that_is_new_begins_at_its_beginning():
    assert table_start(None, ORIGIN, 5) == TableStart(KeyReached(*ORIGIN, None, 0), "")
