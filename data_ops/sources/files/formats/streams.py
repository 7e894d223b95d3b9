"""What are the bytes of a file, unpacked and in UTF-8, from a position on?

Blocks of bounded size, whatever the file claims (unpack.py). How it is packed and encoded is told by its first bytes
(content.py). A file that is packed, or in UTF-16, has no random access: reading from the middle reads all before, so
such files are best kept below about 1 GB.
"""

import codecs
import itertools
import sys
import zlib
from collections.abc import Iterator

import pyarrow as pa
import xxhash

from data_ops.sources.files.formats.content import HEAD_BYTES, Encoding, encoding_of
from data_ops.sources.files.formats.content import codec_of as codec_of_bytes
from data_ops.sources.files.formats.unpack import BLOCK_BYTES, Codec, Limits, TornError, unpack
from data_ops.sources.files.listing import open_partition, read_at

TAIL_BYTES = 4 << 10
SNIFF_BYTES = 4 << 10


def packing_of(partition: str) -> str | None:
    """Tell how a file is packed or encoded, so that its positions are not those of its bytes; None: plain UTF-8."""
    filesystem, path = open_partition(partition)
    with filesystem.open_input_file(path) as file:
        codec, encoding = _sniff(partition, file)
    return codec or (None if encoding == "utf-8" else encoding)


def blocks(partition: str, start: int, size: int, limits: Limits | None = None) -> Iterator[bytes]:
    """Yield the bytes from position `start` on, of the first `size` bytes of the file as stored.

    Positions count unpacked bytes in UTF-8. Raises TornError after the last good byte of a damaged stream.
    """
    filesystem, path = open_partition(partition)
    with filesystem.open_input_file(path) as file:
        codec, encoding = _sniff(partition, file)
        if codec is None and encoding == "utf-8":
            yield from _raw(file, start, size)
            return
        unpacked = unpack(codec, _raw(file, 0, size), limits or Limits()) if codec else _raw(file, 0, size)
        skip = start
        for block in _in_utf8(unpacked):
            if skip < len(block):
                yield block[skip:] if skip else block
            skip = max(skip - len(block), 0)


def total_of(partition: str, end: int, size: int, stored: bool = False) -> tuple[int, int]:
    """Read the bytes [0, end), unpacked and in UTF-8 or as stored: their CRC-32, and how many there are.

    They are fewer than `end` if the file or its stream ends before.
    """
    total = position = 0
    try:
        for block in _stored(partition, end) if stored else blocks(partition, 0, size):
            block = block[: end - position]
            total, position = zlib.crc32(block, total), position + len(block)
            if position == end:
                break
    except TornError:
        pass  # so it holds less than before
    return total, position


def head_of(partition: str, limits: Limits | None = None, size: int = HEAD_BYTES) -> bytes:
    """Read the first `size` bytes, unpacked and in UTF-8; fewer if the stream is torn before."""
    head = b""
    try:
        for block in blocks(partition, 0, size, limits):
            head += block
            if len(head) >= size:
                break
    except TornError:
        pass  # what came before is all there is to see
    return head[:size]


def mark_of(partition: str, end: int, size: int) -> str:
    """Fingerprint the bytes [0, end) by their first 64 KiB and last 4 KiB, so that a rewrite is noticed."""
    head_end, tail_start = min(HEAD_BYTES, end), max(end - TAIL_BYTES, 0)
    if packing_of(partition) is None:
        head = b"".join(blocks(partition, 0, head_end))
        tail = b"".join(blocks(partition, tail_start, end))
        return _mark(head, tail)
    head, tail, position = b"", b"", 0
    try:
        for block in blocks(partition, 0, size):
            block = block[: end - position]
            head = head if len(head) == head_end else (head + block)[:head_end]
            tail = (tail + block)[-TAIL_BYTES:] if len(block) < TAIL_BYTES else block[-TAIL_BYTES:]
            position += len(block)
            if position == end:
                break
    except TornError:
        pass  # what came before the damage is compared
    return _mark(head, tail)


def raw_mark(partition: str, size: int) -> str:
    """Fingerprint a whole file as stored, packed or not: its first 64 KiB and last 4 KiB."""
    filesystem, path = open_partition(partition)
    with filesystem.open_input_file(path) as file:
        head = b"".join(_raw(file, 0, min(HEAD_BYTES, size)))
        return _mark(head, b"".join(_raw(file, max(size - TAIL_BYTES, 0), size)))


def stands_in(partition: str, marked: int, mark: str) -> bool:
    """Say whether the bytes that a fingerprint is of stand in a file, as it is or, if rotation packed it, unpacked."""
    if raw_mark(partition, marked) == mark:
        return True
    if packing_of(partition) is None or _digest(head_of(partition)[:marked]) != mark[: len(mark) // 2]:
        return False
    return mark_of(partition, marked, sys.maxsize) == mark


def _mark(head: bytes, tail: bytes) -> str:
    return _digest(head) + _digest(tail)


def _digest(data: bytes) -> str:
    return str(xxhash.xxh3_64_hexdigest(data))


def _sniff(partition: str, file: pa.NativeFile) -> tuple[Codec | None, Encoding]:
    head = read_at(file, 0, SNIFF_BYTES)
    codec = codec_of_bytes(partition, head)
    return codec, "utf-8" if codec else encoding_of(head)


def _stored(partition: str, end: int) -> Iterator[bytes]:
    filesystem, path = open_partition(partition)
    with filesystem.open_input_file(path) as file:
        yield from _raw(file, 0, end)


def _raw(file: pa.NativeFile, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        block = read_at(file, start, min(BLOCK_BYTES, end - start))
        if not block:
            return
        start += len(block)
        yield block


def _in_utf8(stream: Iterator[bytes]) -> Iterator[bytes]:
    """Bring a stream to UTF-8 if it is in another encoding; what is no character there is none in UTF-8 either."""
    first = next(stream, b"")
    encoding = encoding_of(first)
    if encoding == "utf-8":
        yield first
        yield from stream
        return
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
    for block in itertools.chain([first], _all_in_doubt(stream)):
        try:
            text = decoder.decode(block)
        except UnicodeDecodeError as error:
            raise TornError(
                "bad_utf8", f"the file begins as {encoding} and does not go on so ({error.reason})"
            ) from error
        yield text.encode("utf-8", "surrogatepass")
    if decoder.getstate()[0]:
        raise TornError("bad_utf8", f"the file begins as {encoding} and ends inside a character", ends_early=True)


def _all_in_doubt(stream: Iterator[bytes]) -> Iterator[bytes]:
    """Say of a damaged stream that all of it is: positions in it are other ones in UTF-8."""
    try:
        yield from stream
    except TornError as error:
        error.since = None if error.since is None else 0
        raise
