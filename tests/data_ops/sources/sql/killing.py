"""A table is read by processes that are killed, while transactions are committed out of order and rolled back.

`python -m tests.data_ops.sources.sql.killing --rows 100000 --kills 20` tells what was lost and repeated; the test
beside it is the short one. What a window read is one line of a file, with the cursor behind it.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import NamedTuple

from data_ops.sources.sql.config import SqlConfig
from data_ops.sources.sql.source import SqlSource
from tests.support.runs import environment
from tests.support.sql.postgres import Postgres

TABLE = (
    "create table docs (id bigint generated always as identity primary key, body text, "
    "x xid8 not null default pg_current_xact_id())",
    "create index on docs (x, id)",
)
WINDOW = 200
PATIENCE_S = 500.0


class Outcome(NamedTuple):
    """What became of the rows that were committed."""

    committed: int
    rolled_back: int
    kills: int
    lost: int
    repeated: int
    strangers: int  # read, though never committed


class Writers:
    """Threads that insert rows: one transaction in fifty is long, one in ten is rolled back."""

    def __init__(self, server: Postgres, count: int, rows: int, seed: int = 1) -> None:
        """rows: that each of them writes, at least, also of those that are rolled back."""
        self.server, self.rows, self.seed, self.rolled_back = server, rows, seed, 0
        self.threads = [threading.Thread(target=self._write, args=(number,), daemon=True) for number in range(count)]
        for thread in self.threads:
            thread.start()

    def _write(self, number: int) -> None:
        random, wrote = Random(f"{self.seed} {number}"), 0
        with self.server.connect(autocommit=False) as connection, connection.cursor() as writer:
            while wrote < self.rows:
                count = random.randint(1, 20)
                for row in range(wrote, wrote + count):
                    writer.execute(
                        "insert into docs (body) values ($1)",
                        parameters=(f"row {row} of writer {number} tells of the mill",),
                    )
                wrote += count
                time.sleep(1.0 if random.random() < 0.02 else random.choice([0, 0.002, 0.02]))
                if random.random() < 0.1:
                    connection.rollback()
                    self.rolled_back += count
                else:
                    connection.commit()

    def join(self) -> None:
        """Wait until all is written."""
        for thread in self.threads:
            thread.join()


def committed(server: Postgres) -> list[str]:
    """The texts that are in the table."""
    with server.connect() as connection, connection.cursor() as reader:
        reader.execute("select body from docs")
        return [body for (body,) in reader.fetchall()]


def read_on(url: str, file: Path) -> None:
    """Go on where the last whole line of the file ends, until all is read and file.done is there."""
    whole = file.read_bytes().rpartition(b"\n") if file.exists() else (b"", b"", b"")
    lines = (whole[0] + whole[1]).splitlines()
    cursor = json.loads(lines[-1])["cursor"] if lines else {}
    source = SqlSource("live", SqlConfig(url=url, table="docs", text="body"))
    with file.open("r+b" if file.exists() else "wb") as out:
        out.truncate(len(whole[0] + whole[1]))
        out.seek(0, 2)
        while True:
            is_done = file.with_suffix(".done").exists()
            found = source.discover(cursor, WINDOW)
            batches = [batch for span in found.spans for batch in source.read(span)]
            texts = [text for batch in batches for text in batch["text"].to_pylist()]
            cursor = found.cursor
            if texts:
                out.write(json.dumps({"texts": texts, "cursor": cursor}).encode() + b"\n")
                out.flush()
            elif is_done and found.drained:
                return
            else:
                time.sleep(0.01)


def prove(server: Postgres, folder: Path, rows: int, kills: int, seed: int) -> Outcome:
    """Write so many rows, some more, kill the reader so often, and compare."""
    server.execute("drop table if exists docs", *TABLE)
    file, random = folder / "read.jsonl", Random(seed)
    argv = [sys.executable, "-m", "tests.data_ops.sources.sql.killing", "--read", server.url(), str(file)]
    reader = subprocess.Popen(argv, env=environment())
    writers = Writers(server, 4, rows * 10 // 36 + 20, seed)
    for kill in range(kills):
        _wait(file, rows * (kill + random.random()) / kills / 1.3)
        reader.send_signal(signal.SIGKILL)
        reader.wait()
        reader = subprocess.Popen(argv, env=environment())
    writers.join()
    file.with_suffix(".done").touch()
    if reader.wait(PATIENCE_S) != 0:
        raise ValueError(f"the reader ended with {reader.returncode}")
    there, taken = Counter(committed(server)), Counter(_texts(file))
    return Outcome(
        there.total(),
        writers.rolled_back,
        kills,
        lost=(there - taken).total(),
        repeated=taken.total() - len(taken),
        strangers=len(taken.keys() - there.keys()),
    )


def _texts(file: Path) -> list[str]:
    lines = file.read_text().splitlines() if file.exists() else []
    whole = lines if not lines or lines[-1].endswith("}") else lines[:-1]
    return [text for line in whole for text in json.loads(line)["texts"]]


def _wait(file: Path, count: float) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while len(_texts(file)) < count:
        if time.monotonic() > deadline:
            raise ValueError(f"{len(_texts(file))} rows were read where {count:.0f} were waited for")
        time.sleep(0.2)


def main() -> None:
    """Prove it, or be the reader of a proof."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000, help="that are committed, about")
    parser.add_argument("--kills", type=int, default=20, help="of the reader")
    parser.add_argument("--seed", type=int, default=1, help="of what is written when, and of the kills")
    parser.add_argument("--read", nargs=2, metavar=("URL", "FILE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read:
        read_on(given.read[0], Path(given.read[1]))
        return
    server = Postgres()
    try:
        with tempfile.TemporaryDirectory(prefix="headrace-killing-") as folder:
            outcome = prove(server, Path(folder), given.rows, given.kills, given.seed)
    finally:
        server.close()
    print(outcome)
    sys.exit(int(outcome.lost + outcome.repeated + outcome.strangers > 0))


if __name__ == "__main__":
    main()
