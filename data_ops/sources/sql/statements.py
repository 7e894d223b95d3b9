"""Which statements give the rows of a table in order, page by page?

Keys are compared as a whole, (x, id) > (a, b), which an index of these columns answers; values are always parameters,
names are quoted. The same text does for PostgreSQL and SQLite, but for how a parameter is written and read.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from data_ops.sources.sql.reached import Key, Page
from data_ops.sources.sql.table import Order, TableView, quote

#: Cut rows where a page is full: of records, or where their bytes pass a whole number of pages.
PAGES = """
with planned as (
  select {columns}, {size} as size, row_number() over (order by {order}) as n
  from {table} t where {where} order by {order} limit {most}),
summed as (select {keys}, n, cast(sum(size) over (order by n) as bigint) as total from planned),
ahead as (select {keys}, n, total, lead(total) over (order by n) as next_total from summed)
select n, total, {texts} from ahead
where next_total is null or n % {page_records} = 0 or total / {page_bytes} <> next_total / {page_bytes}
order by n"""
COUNT = "select count(*) from (select 1 from {table} t where {where} limit {most}) s"


class PageSize(NamedTuple):
    """When a page is full: of records, so that several workers can read a window, and of bytes of text, about."""

    num_records: int = 5000
    num_bytes: int = 32 << 20  # which a client holds at once


FULL = PageSize()


class Where(NamedTuple):
    """A condition and the values of its parameters."""

    condition: str
    values: tuple[str, ...]


#: Writes parameter number n, counted from 1, as a value of a column.
Parameter = Callable[[int, str], str]


def behind(reading: TableView, after: Key | None, more: list[str], parameter: Parameter) -> Where:
    """Ask for rows behind a key that fulfil further conditions, which have no parameters."""
    values: tuple[str, ...] = ()
    conditions = list(more)
    if after is not None:
        conditions.insert(0, _compared(reading, ">", parameter, 1))
        values = after
    return Where(" and ".join(conditions) or "true", values)


def between_keys(reading: TableView, after: Key | None, last: Key, parameter: Parameter) -> Where:
    """Ask for rows behind a key, up to and with another."""
    start = behind(reading, after, [], parameter)
    end = _compared(reading, "<=", parameter, len(start.values) + 1)
    return Where(f"{start.condition} and {end}", (*start.values, *last))


def pages(reading: TableView, size: str, where: Where, most: int, full: PageSize = FULL) -> str:
    """Write what lists pages of rows; size: what gives the bytes of a row's text."""
    keys = [f"k{number}" for number in range(len(reading.order.columns))]
    return PAGES.format(
        columns=", ".join(f"t.{quote(name)} as {key}" for name, key in zip(reading.order.columns, keys, strict=True)),
        size=size,
        order=ordered_by(reading.order),
        table=reading.table.quoted,
        where=where.condition,
        most=most,
        keys=", ".join(keys),
        texts=", ".join(f"cast({key} as text)" for key in keys),
        page_records=full.num_records,
        page_bytes=full.num_bytes,
    )


def pages_of(rows: Iterable[Sequence[int | str]]) -> list[Page]:
    """Read pages from what `pages` gives: the number, the bytes so far and the key of each page's last row."""
    found, records, size = list[Page](), 0, 0
    for n, total, *key in rows:
        found.append(Page(int(n) - records, tuple(map(str, key)), int(total) - size))
        records, size = int(n), int(total)
    return found


def ordered_by(order: Order) -> str:
    """Write the columns of an order."""
    return ", ".join(f"t.{quote(name)}" for name in order.columns)


def _compared(reading: TableView, operator: str, parameter: Parameter, first: int) -> str:
    columns = reading.table.columns
    values = (parameter(number, columns[name].type) for number, name in enumerate(reading.order.columns, first))
    return f"({ordered_by(reading.order)}) {operator} ({', '.join(values)})"
