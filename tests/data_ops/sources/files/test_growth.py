"""Is every record of a growing file read once, whenever a look finds it half written?"""

import bz2
import gzip
import json
import lzma
import os
import random
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tests.support.files.reader import OLD, Reader, grow, line, put, texts

CHECKED = zstandard.ZstdCompressor(write_checksum=True)
PACK = {".gz": gzip.compress, ".zst": zstandard.compress}
suffixes = pytest.mark.parametrize("suffix", PACK)


def quiet(reader: Reader) -> list[dict]:
    """Two looks with a pause between them that is longer than `settle`."""
    rows = reader.poll()
    reader.now += 100
    return rows + reader.poll()


def test_half_a_line_waits_however_long_it_stands_and_is_read_when_it_is_whole(tmp_path: Path):
    path = put(tmp_path / "a.jsonl", line("1") + b'{"text": ')
    reader = Reader(path, settle="5s")
    assert texts(reader.poll()) == ["1"] and not reader.drained and reader.warnings == []
    assert quiet(reader) == [] and reader.drained, "a run does not wait for it for ever"
    assert reader.untaken == [("a.jsonl", "waiting", "half_line")]
    assert len(set(reader.warnings)) == 1 and f"{path} ends inside a line" in reader.warnings[0]
    grow(path, b'"2"}\n' + line("3"))
    assert texts(reader.poll()) == ["2", "3"] and reader.drained and reader.untaken == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'[{"text": "1"}, {"text": "2"}]', "is one list of JSON"),
        (line("1").replace(b"\n", b"\r") * 2, "carriage return"),
    ],
)
def test_a_file_without_lines_is_told_what_it_is(tmp_path: Path, content: bytes, told: str):
    reader = Reader(put(tmp_path / "a.jsonl", content), settle="5s")
    assert quiet(reader) == [] and told in reader.warnings[0]
    assert reader.untaken == [("a.jsonl", "waiting", "half_line")]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.txt"])
def test_marks_of_byte_order_stand_twice_where_files_were_appended_twice(tmp_path: Path, name: str):
    mark = b"\xef\xbb\xbf"
    content = {"a.jsonl": line("1"), "a.csv": b"text,x\n1,2\n", "a.txt": b"1"}[name]
    assert texts(Reader(put(tmp_path / name, mark * 2 + content)).poll()) == ["1"]


def test_a_producer_with_a_buffer_that_stalls_loses_nothing(tmp_path: Path):
    whole = b"".join(line(f"number {i}") for i in range(2000))
    path, reader = tmp_path / "a.jsonl", Reader(tmp_path / "a.jsonl", settle="5s")
    for end in range(8192, len(whole) + 8192, 8192):
        put(path, whole[:end], OLD + end)
        quiet(reader)
        reader.restart()
    assert texts(reader.rows) == [f"number {i}" for i in range(2000)]


@suffixes
def test_a_stream_that_is_damaged_in_the_middle_is_named_and_read_again_when_a_whole_copy_comes(tmp_path: Path, suffix):
    whole = PACK[suffix](b"".join(line(f"{random.Random(i).random()}") for i in range(3000)))
    broken = bytearray(whole)
    broken[len(whole) // 2 : len(whole) // 2 + 64] = bytes(64)
    path = put(tmp_path / f"a.jsonl{suffix}", bytes(broken))
    reader = Reader(path, settle="5s")
    read = len(texts(quiet(reader) + quiet(reader)))
    assert reader.drained and read < 3000
    assert reader.untaken == [(path.name, "unreadable", "damaged_file")]
    assert any(f"{path} is damaged behind record" in each for each in reader.warnings)
    reader.restart()
    assert reader.poll() == [] and reader.untaken, "it stays in the account"
    put(path, whole, OLD + 60)
    assert len(texts(quiet(reader) + quiet(reader))) == 3000 and reader.untaken == []


@pytest.mark.slow
@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("pack", [gzip.compress, CHECKED.compress, lzma.compress, bz2.compress])
def test_no_text_is_believed_whose_own_checksum_is_wrong(tmp_path: Path, pack, members: int):
    lines = [random.Random(i).randbytes(30).hex() for i in range(3000)]
    parts = [pack(b"".join(map(line, lines[i::members]))) for i in range(members)]
    whole, generator = b"".join(parts), random.Random(members)
    for number in range(8):
        broken = bytearray(whole)
        place = generator.randrange(len(whole) - len(parts[-1]) // 2, len(whole) - 30)  # in the last member
        broken[place] ^= 1 << generator.randrange(8)
        path = put(tmp_path / f"{number}.jsonl", bytes(broken))
        reader = Reader(path, settle="5s")
        quiet(reader)
        quiet(reader)
        assert reader.untaken == [(path.name, "unreadable", "damaged_file")] and "damaged behind" in reader.warnings[0]
        assert set(texts(row for row in reader.rows if not row["error"])) <= set(lines)
        whole_members = {text for i in range(members - 1) for text in lines[i::members]}
        assert whole_members <= set(texts(reader.rows)), "other members are whole"
        assert any(str(row["error"]).startswith("torn_") for row in reader.rows)


def test_a_damaged_stream_that_was_read_in_windows_says_that_they_may_hold_other_text(tmp_path: Path):
    whole = bytearray(gzip.compress(b"".join(line(random.Random(i).randbytes(30).hex()) for i in range(9000))))
    whole[-100] ^= 1
    reader = Reader(put(tmp_path / "a.jsonl.gz", bytes(whole)), settle="5s")
    reader.all(1000)
    reader.now += 9
    reader.all(1000)
    assert "which earlier windows hold may be other ones" in " ".join(reader.warnings)


def test_a_whole_object_without_its_newline_is_read_and_its_newline_comes_late(tmp_path: Path):
    path = put(tmp_path / "a.jsonl", line("1") + line("2").rstrip())
    reader = Reader(path)
    assert texts(reader.poll()) == ["1", "2"] and reader.drained and reader.poll() == []
    os.utime(path)
    assert reader.poll() == []
    grow(path, b"\r\n" + line("3"))
    assert texts(reader.poll()) == ["3"] and reader.warnings == [] and reader.untaken == []


def test_what_follows_an_object_in_its_line_is_passed_over_and_said(tmp_path: Path):
    path = put(tmp_path / "a.jsonl", line("1").rstrip())
    reader = Reader(path)
    reader.poll()
    grow(path, b" and more")
    assert reader.poll() == []
    grow(path, b" of it\n" + line("2"))
    assert texts(reader.poll()) == ["2"] and reader.untaken == [("a.jsonl", "skipped", "behind_an_object")]
    assert [row["offset"] for row in reader.rows] == [0, 1]


@pytest.mark.parametrize("end", [b'{"text": "a"', b"[1]", b"12", b'"text"'])
def test_no_end_but_an_object_is_ever_taken(tmp_path: Path, end: bytes):
    path = put(tmp_path / "a.jsonl", end)
    reader = Reader(path)
    assert quiet(reader) == [] and reader.untaken == [("a.jsonl", "waiting", "half_line")]
    grow(path, b"\n")
    assert len(reader.poll()) == 1


@suffixes
def test_a_packed_file_that_is_flushed_with_long_pauses_is_read_to_its_end(tmp_path: Path, suffix: str):
    generator = random.Random(0)
    lines = [generator.randbytes(100).hex() for _ in range(4000)]
    packed = PACK[suffix](b"".join(map(line, lines)))
    path = put(tmp_path / f"a.jsonl{suffix}", packed[: len(packed) * 2 // 3])
    reader = Reader(path, settle="5s")
    reader.all(700)
    assert len(quiet(reader)) == 0 and reader.untaken == [(path.name, "waiting", "cut_stream")] and len(reader.rows) > 9
    assert "compressed stream" in reader.warnings[0]
    reader.restart()
    put(path, packed, OLD + 50)
    reader.all(700)
    assert texts(reader.rows) == lines and not any(row["error"] for row in reader.rows)


@suffixes
def test_damage_inside_a_packed_file_is_one_record_for_it_will_never_be_whole(tmp_path: Path, suffix: str):
    path = put(tmp_path / f"a.jsonl{suffix}", b"\xff\0not packed\n")
    reader = Reader(path, settle="5s")
    assert reader.poll() == [] and [row["error"] for row in quiet(reader)] == [
        f"torn_{'gzip' if suffix == '.gz' else 'zstd'}"
    ]
    put(path, PACK[suffix](line("1")), OLD + 9)
    assert texts(quiet(reader)) == ["1"]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"x" * 100, b"PAR1" + b"\xff" * 50])
def test_parquet_without_a_footer_waits_and_is_read_when_it_is_whole(tmp_path: Path, content: bytes):
    path = put(tmp_path / "a.parquet", content)
    reader = Reader(path, settle="5s")
    assert quiet(reader) == [] and reader.drained and reader.untaken == [("a.parquet", "waiting", "no_footer")]
    pq.write_table(pa.table({"text": [str(i) for i in range(50)]}), path)
    reader.restart()
    assert texts(reader.all(7)) == [str(i) for i in range(50)] and reader.untaken == []


@pytest.mark.parametrize("content", [b"PAR1" + b"\xff" * 50 + b"\x20\0\0\0PAR1", b"\xff" * 18 + b"PAR1"])
def test_a_closed_parquet_file_that_cannot_be_read_is_one_record(tmp_path: Path, content: bytes):
    reader = Reader(put(tmp_path / "a.parquet", content), settle="5s")
    assert [row["error"] for row in quiet(reader)] == ["bad_parquet"] and reader.drained and reader.poll() == []


@pytest.mark.parametrize("hours", [-9, 0, 9])
def test_the_clock_of_a_file_server_decides_nothing(tmp_path: Path, hours: float):
    path = tmp_path / "a.txt"
    path.write_bytes(b"half")
    os.utime(path, (path.stat().st_mtime + 3600 * hours,) * 2)
    reader = Reader(path, settle="5s")
    for _ in range(3):
        assert reader.poll() == [] and not reader.drained
        reader.now += 2
    assert texts(reader.poll()) == ["half"] and reader.drained


def test_a_text_that_grows_gives_what_is_new_once_and_a_touch_gives_nothing(tmp_path: Path):
    path = put(tmp_path / "a.txt", b"one ")
    reader = Reader(path)
    assert texts(reader.poll()) == ["one "]
    os.utime(path)
    assert reader.poll() == []
    grow(path, b"two")
    assert texts(reader.poll()) == ["two"] and [row["offset"] for row in reader.rows] == [0, 1]


def test_a_cursor_of_an_older_version_is_read_on_also_where_it_had_given_up(tmp_path: Path):
    path = put(tmp_path / "a.jsonl", line("1") + b'{"text": ')
    reader = Reader(path)
    reader.poll()
    entry = reader.cursor[str(path)]
    size, modified_ns, end = path.stat().st_size, path.stat().st_mtime_ns, path.stat().st_size
    shutil.copy(path, tmp_path / "whole")
    torn = Reader(tmp_path / "whole")
    grow(path, b'"2"}\n' + line("3"))
    from data_ops.sources.files.formats.streams import raw_mark

    reader.cursor = {str(path): [size, modified_ns, end, 2, raw_mark(str(path), end), "ended"]}
    assert texts(reader.poll()) == ["3"], "the place of the half line was given for good"
    reader.cursor = {str(path): [*entry[:5], "rewritten"]}
    assert texts(reader.poll()) == ["1", "2", "3"] and torn.cursor == {}
    assert json.loads(json.dumps(reader.cursor)) == reader.cursor
