"""Is a file that takes another's name read once, and nothing of its predecessor lost unsaid?"""

import gzip
import itertools
import os
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from data_ops.sources.files.config import FilesConfig
from data_ops.sources.kinds import open_source
from data_ops.sources.protocol import ChangedError
from tests.support.files.reader import OLD, Reader, grow, line, put, rows_of, texts


def of(name: str, count: int) -> bytes:
    return b"".join(line(f"{name}{i:06d}" * 20) for i in range(count))


@pytest.mark.parametrize("change", ["shorter", "first byte", "last byte", "longer and other"])
def test_a_replaced_file_is_read_once_under_the_ordinals_that_follow(tmp_path: Path, change: str):
    content = of("", 2000)
    path = put(tmp_path / "a.jsonl", content)
    reader = Reader(path)
    assert len(reader.poll()) == 2000
    changed = {
        "shorter": content[: len(content) // 2],
        "first byte": b"[" + content[1:],
        "last byte": content[:-3] + b"x" + content[-2:],
        "longer and other": content.replace(b"001999", b"991999") + line("new"),
    }[change]
    put(path, changed, OLD + 50)
    rows = reader.all(700)[2000:]
    assert len(rows) == changed.count(b"\n") and reader.drained
    assert [row["offset"] for row in reader.rows] == list(range(len(reader.rows)))
    assert f"{path} is another file than before, of which 2000 records were read" in reader.warnings[0]
    grow(path, b"\n" + line("later"))
    assert texts(reader.poll())[-1] == "later"


@pytest.mark.parametrize("pattern", ["app.jsonl", "app.jsonl*"])
def test_rotation_loses_nothing_also_of_what_was_not_read_yet(tmp_path: Path, pattern: str):
    path = put(tmp_path / "app.jsonl", of("a", 20))
    reader = Reader(tmp_path / pattern, format="jsonl", settle="5s")
    reader.poll(5)
    path.rename(tmp_path / "app.jsonl.1")
    grow(tmp_path / "app.jsonl.1", of("late", 1))  # its writer has not heard of it yet
    put(path, of("b", 10), OLD + 60)
    for _ in range(9):
        reader.poll(7)
        reader.now += 3
    got = [text[: text.index("0")] + text[-6:] for text in texts(reader.rows)]
    assert {f"a{i:06d}" for i in range(20)} | {f"b{i:06d}" for i in range(10)} | {"late000000"} == set(got)
    if pattern == "app.jsonl":
        assert len(got) == 31 and reader.drained and reader.untaken == []


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".zst", zstandard.compress)])
def test_a_file_that_rotation_packed_at_once_is_read_to_its_end(tmp_path: Path, suffix: str, pack):
    path = put(tmp_path / "app.jsonl", of("a", 2000))
    reader = Reader(path, settle="5s")
    (span,) = reader.source.discover({}, 5).spans
    reader.poll(5)
    put(tmp_path / f"app.jsonl.1{suffix}", pack(path.read_bytes() + of("late", 1)), OLD + 50)
    put(tmp_path / f"app.jsonl.2{suffix}", pack(of("c", 3000)), OLD + 55)
    put(path, of("b", 10), OLD + 60)
    for _ in range(9):
        reader.poll(700)
        reader.now += 3
    assert len(reader.rows) == 2011 and reader.drained and reader.untaken == []
    assert texts(rows_of(open_source("mine", reader.config), span)) == texts(reader.rows[:5])


def test_what_was_planned_is_read_from_the_renamed_file(tmp_path: Path):
    path = put(tmp_path / "app.jsonl", of("a", 20))
    source = open_source("mine", FilesConfig(path=str(path)))
    (span,) = source.discover({}, 99).spans
    path.rename(tmp_path / "app-2026.jsonl")
    assert len(rows_of(source, span)) == 20
    put(path, of("b", 20))
    assert texts(rows_of(source, span))[0].startswith("a")
    (tmp_path / "app-2026.jsonl").unlink()
    with pytest.raises(ChangedError, match="another file than the one that was listed"):
        list(source.read(span))


def test_a_truncated_file_that_grows_again_is_read_and_what_was_lost_is_said(tmp_path: Path):
    path = put(tmp_path / "a.jsonl", of("a", 20))
    reader = Reader(path)
    reader.poll(5)
    put(path, of("b", 30), OLD + 9)
    rows = reader.all(8)
    assert len(rows) == 35 and rows[-1]["text"].startswith("b")
    assert reader.untaken == [("a.jsonl", "abandoned", "replaced")]
    grow(path, of("c", 1))
    assert len(reader.poll()) == 1 and reader.untaken == [("a.jsonl", "abandoned", "replaced")], (
        "it stays in the account"
    )


def test_a_file_that_is_gone_before_it_was_read_is_said(tmp_path: Path):
    for name in "ab":
        put(tmp_path / f"{name}.jsonl", of(name, 20))
    reader = Reader(tmp_path / "*.jsonl")
    reader.poll(5)
    (tmp_path / "a.jsonl").unlink()
    assert len(reader.all(99)) == 25 and reader.untaken == [("a.jsonl", "abandoned", "removed")]


def test_an_atomic_rewrite_that_only_adds_is_growth(tmp_path: Path):
    path = put(tmp_path / "a.jsonl", of("a", 20))
    reader = Reader(path)
    reader.poll()
    put(tmp_path / "new", of("a", 25), OLD + 9).rename(path)
    assert len(reader.poll()) == 5 and reader.warnings == []


def test_a_replaced_parquet_file_is_read_once(tmp_path: Path):
    path = tmp_path / "a.parquet"
    for generation, rows in itertools.pairwise([0, 3, 5]):
        pq.write_table(pa.table({"text": [f"{generation} {i}" for i in range(rows)]}), path)
        if generation == 0:
            reader = Reader(path)
        assert texts(reader.all(2))[-rows:] == [f"{generation} {i}" for i in range(rows)]
    assert [row["offset"] for row in reader.rows] == list(range(8))


@pytest.mark.parametrize("byte", [b" ", b"\n"])
def test_a_file_rewritten_between_listing_and_reading_is_an_error_not_a_guess(tmp_path: Path, byte: bytes):
    path = put(tmp_path / "a.jsonl", line("1") * 9)
    source = open_source("files", FilesConfig(path=str(path)))
    (span,) = source.discover({}, 9).spans
    put(path, byte * path.stat().st_size)
    with pytest.raises(ChangedError, match="another file"):
        list(source.read(span))


def parquet_of(lines: list[str]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": lines}), sink, compression="none", use_dictionary=False, row_group_size=100)
    return bytes(sink.getvalue())


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.txt", "a.parquet", "a.jsonl.gz"])
def test_what_a_download_had_reserved_is_read_once_it_is_filled(tmp_path: Path, name: str):
    lines = [random.Random(i).randbytes(200).hex() for i in range(1000)]
    whole = {
        "a.jsonl": b"".join(map(line, lines)),
        "a.csv": b"text,x\n" + b"".join(f"{each},1\n".encode() for each in lines),
        "a.txt": "\n".join(lines).encode(),
        "a.parquet": parquet_of(lines),
        "a.jsonl.gz": gzip.compress(b"".join(map(line, lines))),
    }[name]
    hole = slice(100_000, len(whole) - 20_000)
    path = put(tmp_path / name, whole[: hole.start] + bytes(hole.stop - hole.start) + whole[hole.stop :])
    reader = Reader(path, settle="5s")
    for _ in range(3):
        reader.all(300)
        reader.now += 9
    assert set(lines) - set(texts(reader.rows)), "some of it was not there"
    put(path, whole, OLD + 50)
    reader.restart()
    for _ in range(3):
        reader.all(300)
        reader.now += 9
    read = "\n".join(texts(reader.rows))
    assert all(each in read for each in lines) and reader.drained and reader.untaken == []


def test_a_hole_that_is_filled_while_the_file_grows_is_read(tmp_path: Path):
    lines = [line(f"{i:09d}" * 30) for i in range(1000)]
    whole = b"".join(lines)
    path = put(tmp_path / "a.jsonl", whole[:80_000] + bytes(40_000) + whole[120_000:200_000])
    reader = Reader(path)
    reader.all(300)
    put(path, whole, OLD + 50)
    reader.restart()
    reader.all(300)
    assert {f"{i:09d}" * 30 for i in range(1000)} <= set(texts(reader.rows))


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.jsonl.gz"])
def test_a_file_that_is_only_touched_gives_nothing(tmp_path: Path, name: str):
    content = b"text,x\n" + b"1,2\n" * 50 if name == "a.csv" else b"".join(line(str(i)) for i in range(50))
    path = put(tmp_path / name, gzip.compress(content) if name.endswith(".gz") else content)
    reader = Reader(path)
    assert len(reader.all(20)) == 50
    os.utime(path)
    assert reader.poll() == [] and reader.warnings == [] and reader.drained
