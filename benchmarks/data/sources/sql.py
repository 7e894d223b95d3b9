"""How fast do rows of PostgreSQL become records in Arrow, beside the same client that only fetches them?

Texts of 2 kB in a server of its own on the same machine. Ours: look at the keys, plan pages, read them with their text,
time and id into record batches. The client: one ADBC statement that fetches the same columns in the same order into
Arrow, by COPY, and looks at nothing; it is the ceiling. In turns; wall time and CPU time of the reading process.
"""

import time

import adbc_driver_postgresql.dbapi as adbc

from benchmarks.data.sources.reading import count_good, looks_at_nothing
from benchmarks.rows import Goal, Row, paired
from data_ops.sources.sql.config import SqlConfig
from data_ops.sources.sql.source import SqlSource
from tests.support.sql.postgres import Postgres

WINDOW = 10_000
TEXT_BYTES = 1_920
MADE = """create table docs (id bigserial primary key, body text, at timestamptz default now(),
x xid8 not null default pg_current_xact_id())"""
FILL = "insert into docs (body) select repeat(md5(g::text), 60) from generate_series(1, {}) g"
PLAIN = "select id::text as id, body, at from docs order by x, docs.id"


def measure(quick: bool) -> list[Row]:
    """Rows and megabytes a second, and how long a look takes that finds nothing."""
    num_rows, repeats = (4_000, 2) if quick else (40_000, 5)
    server = Postgres()
    try:
        each = 1_000
        server.execute(MADE, *(FILL.format(each) for _ in range(num_rows // each)), "create index on docs (x, id)")
        server.execute("vacuum analyze docs")
        ours, bare, our_cpu, bare_cpu = [], [], [], []
        for repeat in range(repeats + 1):
            for read, wall, cpu in ((by_us, ours, our_cpu), (by_the_client, bare, bare_cpu)):
                began, began_cpu = time.perf_counter(), time.process_time()
                count = read(server.url())
                if count != num_rows:
                    raise ValueError(f"{read.__name__} read {count} of {num_rows} rows")
                if repeat:
                    wall.append(num_rows / (time.perf_counter() - began))
                    cpu.append(num_rows / (time.process_time() - began_cpu))
        looks = empty_looks(server.url(), 5 if quick else 50)
    finally:
        server.close()
    return rows(num_rows, (ours, bare), (our_cpu, bare_cpu), looks)


def rows(
    num_rows: int, wall: tuple[list[float], list[float]], cpu: tuple[list[float], list[float]], looks: list[float]
) -> list[Row]:
    """The lines of the table."""
    what = f"PostgreSQL into Arrow, {num_rows:,} rows of {TEXT_BYTES / 1e3:.1f} kB"
    client, why = "ADBC alone", "The server, on the same two cores, and other work share them with the reader."
    megabytes = [[TEXT_BYTES / 1e6 * value for value in values] for values in wall]
    goal = Goal(80_000, of_ratio=False)
    return [
        Row(what, "rows/s", wall[0], client, wall[1], paired(*wall), goal, why),
        Row(what, "MB/s", megabytes[0], client, megabytes[1], paired(*megabytes)),
        Row(what, "rows per CPU second", cpu[0], client, cpu[1], paired(*cpu), goal, why),
        Row("a look at a table with nothing new", "ms", looks),
    ]


def by_us(url: str) -> int:
    """Read everything with the source; how many records without an error."""
    return count_good(SqlSource("live", SqlConfig(url=url, table="docs", text="body", time="at")), WINDOW)


def by_the_client(url: str) -> int:
    """Fetch everything in one statement, batch by batch; how many rows."""
    with adbc.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(PLAIN)
        return sum(batch.num_rows for batch in cursor.fetch_record_batch())


def empty_looks(url: str, repeats: int) -> list[float]:
    """Milliseconds of a look behind the last row."""
    source, cursor = SqlSource("live", SqlConfig(url=url, table="docs", text="body", time="at")), {}
    while (found := source.discover(cursor, 10**6)).spans:
        cursor = found.cursor
    return looks_at_nothing(source, cursor, repeats)
