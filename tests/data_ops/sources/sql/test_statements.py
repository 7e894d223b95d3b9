"""Do the statements cut a table into pages that are full and not more, and leave no row out?"""

import sqlite3
from contextlib import closing

from hypothesis import given
from hypothesis import strategies as st

from data_ops.sources.sql.reached import Key, Page
from data_ops.sources.sql.statements import PageSize, behind, between_keys, pages, pages_of
from data_ops.sources.sql.table import ColumnKind, Order, SqlTable, TableColumn, TableFields, TableView

COLUMNS = {name: TableColumn("integer", ColumnKind.NUMBER, is_nullable=False) for name in ("x", "id")}
TABLE = SqlTable(("docs",), "", COLUMNS, ("id",), (("x", "id"),))
VIEW = TableView(TABLE, Order(("x", "id"), ColumnKind.TRANSACTION, is_exact=True), TableFields("body", None, ("id",)))
FULL = PageSize(8, 1000)


def written(number: int, _type: str) -> str:
    return f"cast(?{number} as integer)"


def cut(connection: sqlite3.Connection, after: Key | None, most: int) -> list[Page]:
    where = behind(VIEW, after, [], written)
    return pages_of(connection.execute(pages(VIEW, "length(t.body)", where, most, FULL), where.values))


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 400)), max_size=60), st.integers(1, 40))
def test_windows_of_pages_hold_each_row_once_in_order(rows: list[tuple[int, int]], most: int):
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("create table docs (id integer primary key, x integer, body text)")
        connection.executemany("insert into docs (x, body) values (?, ?)", [(x, "t" * size) for x, size in rows])
        after: Key | None = None
        ids = list[int]()
        while found := cut(connection, after, most):
            assert sum(page.num_records for page in found) <= most
            for page in found:
                where = between_keys(VIEW, after, page.last, written)
                statement = f"select id, length(body) from docs t where {where.condition} order by x, id"
                there = connection.execute(statement, where.values).fetchall()
                assert (len(there), sum(size for _, size in there)) == (page.num_records, page.num_bytes)
                assert page.num_records <= FULL.num_records and page.num_bytes < FULL.num_bytes + 400
                ids, after = ids + [number for number, _ in there], page.last
    assert ids == [number for _, number in sorted((x, number) for number, (x, _) in enumerate(rows, 1))]
