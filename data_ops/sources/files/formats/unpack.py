"""How is a compressed stream unpacked in linear time and bounded memory, whatever it claims?

Packed bytes are fed in small steps and come out in blocks of a few MiB. Members (gzip), frames (Zstandard) and streams
(bzip2, xz) may follow one another in any number. What would take more than a limit is told apart from damage: the
reason is then `over_limit`, and the sample names the setting.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, Protocol

import zstandard

Codec = Literal["gzip", "zstd", "bzip2", "xz"]
BLOCK_BYTES = 4 << 20
FIRST_STEP, LAST_STEP = 1 << 10, 256 << 10  # small at first: what follows the end of a member is copied back to us
ZSTD_STEP = 512  # so many bytes may become 20 MB
FREE_BYTES = 32 << 20  # so much may come of anything: one repeated line is packed 10,000-fold


class Limits(NamedTuple):
    """What reading a file may cost: sources.<label>.max_record_bytes, max_ratio and max_unpack_memory."""

    record_bytes: int = 16 << 20
    ratio: int = 1000  # unpacked bytes for each packed one, behind the first 32 MiB
    memory: int = 2 << 30  # what a stream may ask for: the window of Zstandard, the dictionary of xz


class TornError(ValueError):
    """A stream that cannot be read on; `reason` is torn_<codec>, or over_limit where a setting forbids it.

    ends_early: what is there is good so far, and may be written on.
    since: where the member begins that is damaged, in unpacked bytes. Its checksum stands at its end, so nobody can
    tell what in it is good; None where the rest is good (bzip2 checks each block before it gives it).
    """

    since: int | None = None

    def __init__(self, reason: str, sample: str = "", *, ends_early: bool = False) -> None:
        super().__init__(reason, sample)
        self.reason, self.sample, self.ends_early = reason, sample, ends_early


def unpack(codec: Codec, raw: Iterator[bytes], limits: Limits) -> Iterator[bytes]:
    """Unpack a whole stream; TornError behind its last good byte if it is damaged or goes beyond a limit."""
    gathered: list[bytes] = []
    size = given = since = 0
    try:
        for data, fed, is_whole in _members(codec, raw, limits):
            gathered.append(data)
            size, given = size + len(data), given + len(data)
            since = given if is_whole else since
            if size >= BLOCK_BYTES:
                yield b"".join(gathered)
                gathered, size = [], 0
            if given > FREE_BYTES and given > limits.ratio * fed:
                raise TornError(
                    "over_limit",
                    f"{fed} packed bytes become more than {given}, over max_ratio={limits.ratio}; raise max_ratio of "
                    "the source if the file can be trusted",
                )
    except TornError as error:
        yield b"".join(gathered)
        if error.reason != "over_limit" and not error.ends_early and codec != "bzip2":
            error.since = since
        raise
    yield b"".join(gathered)


def _members(codec: Codec, raw: Iterator[bytes], limits: Limits) -> Iterator[tuple[bytes, int, bool]]:
    """Unpack member after member: pieces, how many packed bytes have been fed so far, and if a member is whole."""
    new_member, most = _opener(codec, limits), ZSTD_STEP if codec == "zstd" else LAST_STEP
    first = min(FIRST_STEP, most)
    member, begun, step, fed = new_member(), False, first, 0
    for block in raw:
        view, position = memoryview(block), 0
        while position < len(view):
            if not begun and view[position] == 0:  # zeros behind a member are padding
                position += 1
                continue
            piece = view[position : position + step]
            begun, position, fed = True, position + len(piece), fed + len(piece)
            step = min(2 * step, most)
            yield member.feed(piece), fed, member.done
            while not member.done and member.more:
                yield member.feed(b""), fed, member.done
            if member.done:
                position, fed = position - len(member.unused), fed - len(member.unused)
                member, begun, step = new_member(), False, first
    if begun:
        raise TornError(f"torn_{codec}", ends_early=True)


class _Member(Protocol):
    """One member of a stream: `more` if it has output left without input, `unused` what it was fed behind its end."""

    done: bool
    more: bool
    unused: bytes

    def feed(self, data: bytes | memoryview) -> bytes: ...


def _opener(codec: Codec, limits: Limits) -> Callable[[], _Member]:
    if codec == "zstd":  # one context serves all frames: to make one takes 0.2 ms
        context = zstandard.ZstdDecompressor(max_window_size=min(limits.memory, 1 << 31))
        return lambda: _Zstd(context, limits)
    if codec == "xz":
        return lambda: _Xz(limits)
    return _Gzip if codec == "gzip" else _Bzip2


class _Gzip:
    done = more = False
    unused = b""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=47)  # the header of gzip, or that of zlib

    def feed(self, data: bytes | memoryview) -> bytes:
        try:
            out = self._stream.decompress(data or self._stream.unconsumed_tail, BLOCK_BYTES)
        except zlib.error as error:
            raise TornError("torn_gzip") from error
        self.done, self.unused = self._stream.eof, self._stream.unused_data
        self.more = bool(self._stream.unconsumed_tail) or len(out) == BLOCK_BYTES
        return out


class _Zstd:
    done = more = False
    unused = b""

    def __init__(self, context: zstandard.ZstdDecompressor, limits: Limits) -> None:
        self._stream = context.decompressobj()
        self._limits = limits

    def feed(self, data: bytes | memoryview) -> bytes:
        try:
            out: bytes = self._stream.decompress(data)
        except zstandard.ZstdError as error:
            if "memory" in str(error):
                raise _over_memory(self._limits) from error
            raise TornError("torn_zstd") from error
        self.done, self.unused = self._stream.eof, self._stream.unused_data
        return out


class _Bzip2:
    done = more = False
    unused = b""

    def __init__(self) -> None:
        self._stream = bz2.BZ2Decompressor()

    def feed(self, data: bytes | memoryview) -> bytes:
        try:
            out = self._stream.decompress(data, BLOCK_BYTES)
        except (OSError, ValueError) as error:
            raise TornError("torn_bzip2") from error
        self.done, self.unused = self._stream.eof, self._stream.unused_data
        self.more = not self._stream.needs_input
        return out


class _Xz:
    done = more = False
    unused = b""

    def __init__(self, limits: Limits) -> None:
        self._stream = lzma.LZMADecompressor(lzma.FORMAT_AUTO, memlimit=limits.memory)  # xz, or lzma as before
        self._limits = limits

    def feed(self, data: bytes | memoryview) -> bytes:
        try:
            out = self._stream.decompress(data, BLOCK_BYTES)
        except lzma.LZMAError as error:
            if "emory" in str(error):
                raise _over_memory(self._limits) from error
            raise TornError("torn_xz") from error
        self.done, self.unused = self._stream.eof, self._stream.unused_data
        self.more = not self._stream.needs_input
        return out


def _over_memory(limits: Limits) -> TornError:
    sample = f"unpacking needs more than max_unpack_memory={limits.memory} bytes; raise it for the source to read on"
    return TornError("over_limit", sample)
