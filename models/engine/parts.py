"""How is one rank's file of a checkpoint read: what it holds, and any stretch of it without the rest?

A file is safetensors: a header in JSON that says where each tensor lies, then the tensors' bytes. Whoever gives the
bytes (a path, or ranged reads of a bucket) is a `Part`. The header's metadata holds a digest of every 64 KiB of what
follows it, and the manifest holds a digest of the header. So a reader of a stretch checks the few chunks that it read;
the digests are 0.03 % of the file.
"""

import base64
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol, TypedDict

import xxhash

CHUNK_BYTES, DIGEST_BYTES = 1 << 16, 16
CHUNKS = "chunks_xxh3_128"  # key of the metadata
MOST_HEADER = 1 << 28
ELEMENT_BYTES = {"F32": 4, "BF16": 2}  # the latter of weights that came so from elsewhere
Range = tuple[int, int]  # of bytes: first, and the one behind the last


class Part(Protocol):
    """The bytes of one rank's file."""

    @property
    def name(self) -> str:
        """What the file is called in a sentence."""

    def size_bytes(self) -> int:
        """Bytes of the file."""

    def read_into(self, start: int, into: memoryview) -> None:
        """Fill `into` with the bytes from `start`; ValueError where the file ends before, or is damaged."""


class LocalPart:
    """A file on this machine, read as it is."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    def size_bytes(self) -> int:
        """Bytes of the file."""
        return self.path.stat().st_size

    def read_into(self, start: int, into: memoryview) -> None:
        """Fill `into` with the bytes from `start`."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            read_into(handle, start, into, self.name)
        finally:
            os.close(handle)


class Contents(NamedTuple):
    """What a file's header says: its metadata, and for each tensor the range of its bytes and those of an element."""

    metadata: dict[str, str]
    places: dict[str, Range]
    widths: dict[str, int]


def read_contents(part: Part) -> Contents:
    """Read a file's header; ValueError where it is none."""
    try:
        size = part.size_bytes()
        length = int.from_bytes(read_bytes(part, 0, 8), "little")
        if not 2 <= length <= min(size - 8, MOST_HEADER):
            raise ValueError(f"a header of {length} bytes in {size}")
        header = json.loads(read_bytes(part, 8, length))
        metadata = header.pop("__metadata__", {})
        places, widths = dict[str, Range](), dict[str, int]()
        for key, (first, end), width in _offsets(header):
            places[key], widths[key] = (8 + length + first, 8 + length + end), width
        if any(not 8 + length <= first <= end <= size for first, end in places.values()):
            raise ValueError("a tensor beyond its end")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"checkpoint file {part.name} cannot be read ({error}); fetch it again or use an older one"
        ) from error
    return Contents(metadata, places, widths)


class _Entry(TypedDict):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def _offsets(header: dict[str, _Entry]) -> Iterator[tuple[str, Range, int]]:
    for key, entry in header.items():
        first, end = entry["data_offsets"]
        width = ELEMENT_BYTES.get(entry["dtype"], 0)
        if not width or entry["shape"] != [(end - first) // width]:
            raise ValueError(f"{key} is {entry['dtype']} {entry['shape']}, not flat {' or '.join(ELEMENT_BYTES)}")
        yield key, (int(first), int(end)), width


def read_bytes(part: Part, start: int, count: int) -> bytes:
    """Read a few bytes."""
    found = bytearray(count)
    part.read_into(start, memoryview(found))
    return bytes(found)


def read_into(handle: int, start: int, into: memoryview, name: str) -> None:
    """Fill `into` from an open file; ValueError where it ends before."""
    done = 0
    while done < len(into):
        count = os.preadv(handle, [into[done:]], start + done)
        if count == 0:
            raise ValueError(f"{name} ends at byte {start + done}, before what is read of it")
        done += count


def digests_of(buffers: Iterable[memoryview]) -> str:
    """Digest every chunk of some buffers that will follow one another, for the metadata."""
    digests, chunk, held = bytearray(), xxhash.xxh3_128(), 0
    for data in buffers:
        at = 0
        while at < len(data):
            piece = data[at : at + CHUNK_BYTES - held]
            chunk.update(piece)
            at, held = at + len(piece), held + len(piece)
            if held == CHUNK_BYTES:
                digests += chunk.digest()
                chunk, held = xxhash.xxh3_128(), 0
    return base64.b64encode(bytes(digests) + (chunk.digest() if held else b"")).decode()


def read_digests(metadata: Mapping[str, str], size_bytes: int) -> bytes:
    """Read what `digests_of` wrote about so many bytes; ValueError if it is not about these."""
    digests = base64.b64decode(metadata[CHUNKS])
    if len(digests) != DIGEST_BYTES * -(-size_bytes // CHUNK_BYTES):
        raise ValueError(f"{len(digests)} bytes of digests are not those of {size_bytes} bytes")
    return digests


def chunks_of(ranges: Iterable[Range]) -> list[int]:
    """Number the chunks that hold some ranges, each once, in order."""
    numbers = {n for first, end in ranges if first < end for n in range(first // CHUNK_BYTES, -(-end // CHUNK_BYTES))}
    return sorted(numbers)
