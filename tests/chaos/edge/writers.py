"""How do programs write that a source reads from? Badly, each in its own way, and each knows what it has written.

A writer holds what it means to write (`records`: text, and whether it is good) and puts bytes into its file as a
buffer, a row group or a flush lets them out. `finish` leaves nothing unfinished.
"""

import io
import json
import os
import random
import zlib
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

BAD = (b'{"text": "\xff\xfe"}', b'{"text": ', b"no json", b'{"body": 1}', b"[1]")
BUFFER_BYTES = 4096


@dataclass
class Record:
    """One record: its text, or the bytes that make it bad."""

    text: str
    is_good: bool
    may_be_lost: bool = False  # its file was truncated before it was read


class Lines:
    """JSON lines through a buffer that lets out whole blocks, so that a file ends inside a line."""

    suffix = ".jsonl"

    def __init__(self, path: Path, rng: random.Random) -> None:
        self.path, self.rng, self.records = path, rng, list[Record]()
        self.pending, self.number = b"", 0
        self.must_say = False  # whether it was truncated when a look had seen lines that were not read yet
        self.out = path  # where its open file lies by now
        path.touch()

    def write(self, count: int, poison: bool) -> None:
        """Mean to write some records, one of them bad if asked for; what the buffer lets out reaches the file."""
        for i in range(count):
            self.pending += self.line(poison and i == count // 2)
        whole = len(self.pending) // BUFFER_BYTES * BUFFER_BYTES
        self.flush(whole if self.rng.random() < 0.6 else self.rng.randrange(len(self.pending) + 1))

    def line(self, is_bad: bool) -> bytes:
        """The next record as a line."""
        self.number += 1
        text = f"{self.path.name} {self.number} " + self.rng.randbytes(self.rng.randrange(10, 200)).hex()
        self.records.append(Record(text, not is_bad))
        return (self.rng.choice(BAD) if is_bad else json.dumps({"text": text}).encode()) + b"\n"

    def flush(self, size: int) -> None:
        """Let so many bytes out."""
        self.put(self.pending[:size])
        self.pending = self.pending[size:]

    def put(self, data: bytes) -> None:
        """Append to the open file, wherever it was renamed to."""
        with self.out.open("ab") as file:
            file.write(data)

    def finish(self) -> None:
        """Flush all."""
        self.out = self.path
        self.flush(len(self.pending))


class Packed(Lines):
    """The same through gzip with a flush now and then."""

    suffix = ".jsonl.gz"

    def __init__(self, path: Path, rng: random.Random) -> None:
        super().__init__(path, rng)
        self.member = zlib.compressobj(wbits=31)

    def flush(self, size: int) -> None:
        """Compress so many bytes and flush, or end the member and begin another."""
        data, self.pending = self.pending[:size], self.pending[size:]
        packed = self.member.compress(data)
        if self.rng.random() < 0.2:
            packed += self.member.flush()
            self.member = zlib.compressobj(wbits=31)
        elif self.rng.random() < 0.7:
            packed += self.member.flush(zlib.Z_SYNC_FLUSH)
        self.put(packed)

    def finish(self) -> None:
        """End the last member."""
        self.put(self.member.compress(self.pending) + self.member.flush())
        self.pending = b""
        self.member = zlib.compressobj(wbits=31)


class RowGroups:
    """Parquet, a row group now and then; there is a footer only at the end."""

    suffix = ".parquet"

    def __init__(self, path: Path, rng: random.Random) -> None:
        self.path, self.rng, self.records = path, rng, list[Record]()
        self.made, self.out, self.must_say = io.BytesIO(), path, False
        self.schema = pa.schema([("text", pa.binary())])
        self.writer: pq.ParquetWriter | None = pq.ParquetWriter(self.made, self.schema)
        path.touch()

    def write(self, count: int, poison: bool) -> None:
        """Add a row group; the file shows what was made so far, or a part of it."""
        if self.writer is None:
            return
        cells = []
        for i in range(count):
            text = f"{self.path.name} {len(self.records)} " + self.rng.randbytes(20).hex()
            is_bad = poison and i == count // 2
            self.records.append(Record(text, not is_bad))
            cells.append(b"\xff\xfe" if is_bad else text.encode())
        self.writer.write_table(pa.table({"text": pa.array(cells, pa.binary())}, schema=self.schema))
        self._show(self.rng.randrange(self.made.tell() // 2, self.made.tell() + 1))

    def _show(self, size: int) -> None:
        shown = self.path.stat().st_size
        with self.path.open("ab") as file:
            file.write(self.made.getvalue()[shown : max(size, shown)])

    def finish(self) -> None:
        """Write the footer."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None
            self._show(len(self.made.getvalue()))


def set_clock(path: Path, hours: float) -> None:
    """Let the file server's clock be so many hours off."""
    moment = path.stat().st_mtime_ns + int(hours * 3600e9)
    os.utime(path, ns=(moment, moment))
