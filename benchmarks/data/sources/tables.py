"""How fast do rows of a Delta table become records, beside deltalake's own reading of the same table into Arrow?

Texts of 2 kB with a time and an id, files of 10,000 rows each. Ours: look at the log and the footers, cut windows, read
them into records, text by text checked. deltalake: `to_pyarrow_table` of the same three columns in one go, which holds
all of the table and looks at nothing; it is the ceiling. In turns; wall and CPU time of this process. And a look that
finds nothing new, at two lengths of the log.
"""

import tempfile
import time
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from benchmarks.data.sources.reading import count_good, looks_at_nothing
from benchmarks.rows import Row, paired
from data_ops.sources.delta.config import DeltaConfig
from data_ops.sources.delta.source import DeltaSource

WINDOW = 10_000
FILE_ROWS = 10_000
TEXT = "Water comes down the headrace and turns the wheel of the mill. " * 32  # 2 kB


def measure(quick: bool) -> list[Row]:
    """Rows a second and a CPU second, and how long a look takes that finds nothing."""
    num_files, repeats, lengths = (1, 2, (5, 10)) if quick else (6, 5, (10, 1000))
    with tempfile.TemporaryDirectory() as folder:
        for number in range(num_files):
            write_deltalake(f"{folder}/read", rows_of(number * FILE_ROWS, FILE_ROWS), mode="append")
        ours, theirs, our_cpu, their_cpu = [], [], [], []
        for repeat in range(repeats + 1):
            for read, wall, cpu in ((by_us, ours, our_cpu), (by_deltalake, theirs, their_cpu)):
                began, began_cpu = time.perf_counter(), time.process_time()
                count = read(f"{folder}/read")
                if count != num_files * FILE_ROWS:
                    raise ValueError(f"{read.__name__} read {count} of {num_files * FILE_ROWS} rows")
                if repeat:
                    wall.append(count / (time.perf_counter() - began))
                    cpu.append(count / (time.process_time() - began_cpu))
        looks = {length: empty_looks(f"{folder}/looked{length}", length, 5 if quick else 50) for length in lengths}
    what, client = f"Delta into records, {num_files * FILE_ROWS:,} rows of 2 kB", "deltalake into one table"
    return [
        Row(what, "rows/s", ours, client, theirs, paired(ours, theirs)),
        Row(what, "rows per CPU second", our_cpu, client, their_cpu, paired(our_cpu, their_cpu)),
        *(Row(f"a look that finds nothing, {n:,} versions", "ms", taken) for n, taken in looks.items()),
    ]


def rows_of(first: int, count: int) -> pa.Table:
    """Rows with an id, a text of their own and a time."""
    times = [datetime(2026, 11, 1, tzinfo=UTC) + timedelta(seconds=n) for n in range(count)]
    texts = [f"{first + n} {TEXT}" for n in range(count)]
    return pa.table(
        {"id": range(first, first + count), "text": texts, "at": pa.array(times, pa.timestamp("us", "UTC"))}
    )


def by_us(path: str) -> int:
    """Read everything with the source; how many records without an error."""
    return count_good(DeltaSource("live", DeltaConfig(path=path, time="at", id="id")), WINDOW)


def by_deltalake(path: str) -> int:
    """Read everything at once; how many rows."""
    return DeltaTable(path).to_pyarrow_table(columns=["text", "at", "id"]).num_rows


def empty_looks(path: str, num_versions: int, repeats: int) -> list[float]:
    """Milliseconds of a look behind the last version of a table with so many, of one row each."""
    row = rows_of(0, 1)
    for _ in range(num_versions):
        write_deltalake(path, row, mode="append")
    source = DeltaSource("live", DeltaConfig(path=path))
    cursor = source.discover({}, 10**6).cursor
    return looks_at_nothing(source, cursor, repeats)
