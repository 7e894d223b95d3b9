"""Is a stream unpacked whatever its packing, in linear time, and stopped by name where it would take too much?"""

import bz2
import gzip
import lzma
import time
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from data_ops.sources.files.formats.unpack import Limits, TornError, unpack
from tests.support.files.rows import put, read_rows

PACK = {"gzip": gzip.compress, "zstd": zstandard.compress, "bzip2": bz2.compress, "xz": lzma.compress}
SUFFIX = {"gzip": ".gz", "zstd": ".zst", "bzip2": ".bz2", "xz": ".xz"}
LIMITS = Limits()
codecs = pytest.mark.parametrize("codec", PACK)
LINE = b'{"text": "A line of the corpus that was packed in some way."}\n'


def pieces(data: bytes, size: int = 4 << 20):
    return iter([data[i : i + size] for i in range(0, len(data), size)])


def outcome(codec, data, limits=LIMITS, size=4 << 20):
    """What came out, and why it ended."""
    out = b""
    try:
        for block in unpack(codec, pieces(data, size), limits):
            out += block
    except TornError as error:
        return out, error.reason
    return out, None


@pytest.mark.parametrize("name", ["a.jsonl.xz", "a.jsonl.lzma", "a.jsonl"])
def test_lzma_and_zlib_are_read_as_what_replaced_them(tmp_path, name):
    old = lzma.compress(LINE * 3, format=lzma.FORMAT_ALONE)
    assert len(read_rows(put(tmp_path / name, old))) == 3
    rows = read_rows(put(tmp_path / "b.jsonl.gz", zlib.compress(LINE) + gzip.compress(LINE)))
    assert [row["error"] for row in rows] == [None, None]


@given(st.sampled_from(sorted(PACK)), st.lists(st.binary(max_size=60), max_size=6), st.integers(1, 50))
def test_members_follow_one_another_however_the_bytes_come(codec, members, size):
    packed = b"".join(map(PACK[codec], members))
    assert outcome(codec, packed, size=size) == (b"".join(members), None)


@codecs
def test_a_torn_stream_gives_what_was_good_and_its_name(codec):
    packed = PACK[codec](LINE * 1000)
    out, reason = outcome(codec, PACK[codec](LINE) + packed[:-9])
    assert out.startswith(LINE) and reason == f"torn_{codec}"
    assert outcome(codec, PACK[codec](LINE) + b"garbage") == (LINE, f"torn_{codec}")


@codecs
@pytest.mark.parametrize("named", [True, False])
def test_the_bytes_say_how_a_file_is_packed_whatever_its_name(tmp_path, codec, named):
    path = put(tmp_path / f"a.jsonl{SUFFIX[codec] if named else ''}", PACK[codec](LINE * 3))
    assert [row["text"] for row in read_rows(path)] == ["A line of the corpus that was packed in some way."] * 3
    path = put(tmp_path / f"b.jsonl{SUFFIX[codec]}", LINE * 2)  # the download has unpacked it
    assert [row["error"] for row in read_rows(path)] == [None, None]


@codecs
def test_many_tiny_members_take_linear_time(codec):
    small, began = PACK[codec](LINE), time.perf_counter()
    times = 1_000_000 // len(small)
    assert outcome(codec, small * times)[0] == LINE * times
    assert time.perf_counter() - began < 5  # a few tenths on a machine that is not busy; 1.3 s and growing before


@pytest.mark.slow
@codecs
def test_a_bomb_is_over_a_limit_not_damaged(codec, tmp_path):
    compressor = {"gzip": lambda: gzip.compress, "zstd": lambda: zstandard.ZstdCompressor(level=1).compress}
    packed = compressor.get(codec, lambda: PACK[codec])()(b"\n" * (100 << 20))
    out, reason = outcome(codec, packed)
    assert reason == "over_limit" and (32 << 20) <= len(out) < (80 << 20)
    path = put(tmp_path / "a.txt", packed)
    (row,) = read_rows(path, max_record_bytes="128MiB")
    assert row["error"] == "over_limit" and "max_ratio=1000" in row["text"]
    assert outcome(codec, packed, Limits(ratio=10**7)) == (b"\n" * (100 << 20), None)


def long_window(data: bytes, log: int) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=log)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize("log", [28, 31])
def test_long_windows_are_read_up_to_a_limit_that_is_named(tmp_path, log):
    path = put(tmp_path / "a.jsonl.zst", long_window(LINE * 5, log))
    assert [row["error"] for row in read_rows(path)] == [None] * 5
    (row,) = read_rows(path, max_unpack_memory="128MiB")
    assert row["error"] == "over_limit" and "max_unpack_memory" in row["text"]


def test_an_xz_dictionary_beyond_the_limit_is_named():
    packed = lzma.compress(LINE, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 256 << 20}])
    assert outcome("xz", packed, Limits(memory=64 << 20)) == (b"", "over_limit")
    assert outcome("xz", packed) == (LINE, None)
