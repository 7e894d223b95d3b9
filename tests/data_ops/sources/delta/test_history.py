"""Whatever is done to a table, in whatever order and windows: does each look bring exactly the rows that came?"""

import tempfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data_ops.sources.delta.writing import FEED, DeltaReader, append, rows, table_at

ACTS = ("append", "append two", "change", "delete", "merge", "optimize", "checkpoint", "restart")


def act(path: Path, name: str, number: int) -> None:
    """Do one thing to a table; number: of the act, so that no text comes twice."""
    first = 10 * number
    if name.startswith("append"):
        for part in range(1 + (name == "append two")):
            append(path, rows(first + 5 * part, first + 5 * part + 1 + number % 5))
    elif name == "change":
        table_at(path).update(predicate=f"id % 3 = {number % 3}", updates={"text": f"concat(text, '.{number}')"})
    elif name == "delete":
        table_at(path).delete(f"id % 4 = {number % 4}")
    elif name == "merge":
        merged = pa.table({"id": [1, first + 8], "text": [f"merged {number}", f"inserted {number}"]})
        merge = table_at(path).merge(merged, "s.id = t.id", "s", "t")
        merge.when_matched_update_all().when_not_matched_insert_all().execute()
    elif name == "optimize":
        table_at(path).optimize.compact()
    elif name == "checkpoint":
        table_at(path).create_checkpoint()


def live(path: Path) -> Counter:
    """The rows of the table now, as deltalake reads them."""
    table = table_at(path).to_pyarrow_table()
    return Counter((str(row["id"]), row["text"]) for row in table.to_pylist())


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(acts=st.lists(st.sampled_from(ACTS), max_size=9), most=st.integers(1, 8), has_feed=st.booleans())
def test_a_look_brings_the_rows_that_came_and_the_places_do_not_depend_on_the_windows(acts, most, has_feed):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table"
        append(path, rows(0, 5), configuration=FEED if has_feed else {})
        small, large, before = DeltaReader(path), DeltaReader(path), Counter()
        for number, name in enumerate(["look", *acts], 1):
            act(path, name, number)
            if name == "restart":
                small.restart()
            begin, now = len(small.rows), live(path)
            small.poll(most)
            large.poll()
            new = Counter((row["external_id"], row["text"]) for row in small.rows[begin:] if row["error"] is None)
            came, before = now - before, now
            if has_feed:
                assert new == came
            else:
                assert not came - new and not new - now, "copies may come, but nothing that is not there"
        assert small.rows == large.rows
        assert [row["offset"] for row in small.rows] == list(range(len(small.rows)))
