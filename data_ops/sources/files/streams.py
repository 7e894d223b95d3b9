"""What are the bytes of a file, decompressed, from a position on?

Blocks of bounded size, whatever the file claims: gzip and Zstandard are unpacked in small steps, so a bomb
costs time but no memory. A compressed file has no random access: reading from the middle unpacks all before,
so they are best kept below about 1 GB.
"""

import zlib
from collections.abc import Iterator

import pyarrow.fs as pafs
import xxhash
import zstandard

from data_ops.sources.files.listing import open_partition, read_at

BLOCK_BYTES = 4 << 20
ZSTD_STEP_BYTES = 2 << 10  # a step may grow 2^15-fold
MAX_ZSTD_WINDOW = 1 << 27
HEAD_BYTES, TAIL_BYTES = 64 << 10, 4 << 10


class TornError(ValueError):
    """A compressed stream that ends early or is damaged; `str()` is the reason, torn_gzip or torn_zstd.

    ends_early: what is there is good so far, and may be written on.
    """

    def __init__(self, reason: str, *, ends_early: bool = False) -> None:
        super().__init__(reason)
        self.ends_early = ends_early


def codec_of(partition: str) -> str | None:
    """Tell the compression by the file's name: "gzip", "zstd" or None."""
    name = partition.lower()
    return "gzip" if name.endswith(".gz") else "zstd" if name.endswith(".zst") else None


def blocks(partition: str, start: int, size: int) -> Iterator[bytes]:
    """Yield the bytes from position `start` on, of the first `size` bytes of the file as stored.

    Positions count decompressed bytes. Raises TornError after the last good byte of a damaged stream.
    """
    filesystem, path = open_partition(partition)
    codec = codec_of(partition)
    if codec is None:
        yield from _raw(filesystem, path, start, size)
        return
    unpack = _gunzip if codec == "gzip" else _unzstd
    skip = start
    for block in unpack(_raw(filesystem, path, 0, size)):
        if skip < len(block):
            yield block[skip:] if skip else block
        skip = max(skip - len(block), 0)


def mark_of(partition: str, end: int, size: int) -> str:
    """Fingerprint the bytes [0, end) by their first 64 KiB and last 4 KiB, so that a rewrite is noticed."""
    head_end, tail_start = min(HEAD_BYTES, end), max(end - TAIL_BYTES, 0)
    if codec_of(partition) is None:
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
    """Fingerprint a whole file as stored, compressed or not: its first 64 KiB and last 4 KiB."""
    filesystem, path = open_partition(partition)
    head = b"".join(_raw(filesystem, path, 0, min(HEAD_BYTES, size)))
    return _mark(head, b"".join(_raw(filesystem, path, max(size - TAIL_BYTES, 0), size)))


def _mark(head: bytes, tail: bytes) -> str:
    return f"{xxhash.xxh3_64_hexdigest(head)}{xxhash.xxh3_64_hexdigest(tail)}"


def _raw(filesystem: pafs.FileSystem, path: str, start: int, end: int) -> Iterator[bytes]:
    with filesystem.open_input_file(path) as file:
        while start < end:
            block = read_at(file, start, min(BLOCK_BYTES, end - start))
            if not block:
                return
            start += len(block)
            yield block


def _gunzip(raw: Iterator[bytes]) -> Iterator[bytes]:
    """Unpack gzip members one after another; zero bytes after a member are padding."""
    member = zlib.decompressobj(wbits=31)
    begun = False
    for block in raw:
        rest = block
        while rest:
            if not begun and not rest.strip(b"\0"):
                break
            begun = True
            try:
                out = member.decompress(rest, BLOCK_BYTES)
            except zlib.error as error:
                raise TornError("torn_gzip") from error
            if out:
                yield out
            rest = member.unconsumed_tail
            if member.eof:
                rest, member, begun = member.unused_data, zlib.decompressobj(wbits=31), False
    if begun:
        raise TornError("torn_gzip", ends_early=True)


def _unzstd(raw: Iterator[bytes]) -> Iterator[bytes]:
    """Unpack Zstandard frames one after another."""
    factory = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW)
    frame = factory.decompressobj()
    begun = False
    gathered: list[bytes] = []
    size = 0
    for block in raw:
        for first in range(0, len(block), ZSTD_STEP_BYTES):
            rest = block[first : first + ZSTD_STEP_BYTES]
            while rest:
                begun = True
                try:
                    gathered.append(frame.decompress(rest))
                except zstandard.ZstdError as error:
                    yield b"".join(gathered)
                    raise TornError("torn_zstd") from error
                size += len(gathered[-1])
                rest = b""
                if frame.eof:
                    rest, frame, begun = frame.unused_data, factory.decompressobj(), False
            if size >= BLOCK_BYTES:
                yield b"".join(gathered)
                gathered, size = [], 0
    yield b"".join(gathered)
    if begun:
        raise TornError("torn_zstd", ends_early=True)
