"""What is in a file: how is it packed, in which encoding, and is it lines, a table, Parquet or prose?

The first bytes decide, the name is a hint: names outlive a download that unpacks, a rotation and a copy. What is none
of these is refused with a sentence (`UnknownKindError`), because a binary file or a table read as prose would be
trained on without anybody noticing.
"""

import re
from typing import Literal

import orjson

from data_ops.sources.files.formats.unpack import Codec

Format = Literal["jsonl", "parquet", "text", "lines", "csv", "tsv"]
Encoding = Literal["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]
HEAD_BYTES = 64 << 10
MAGIC: tuple[tuple[bytes, Codec], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\x00", "xz"),
)
PACKED_SUFFIXES: dict[str, Codec] = {
    ".gz": "gzip",
    ".gzip": "gzip",
    ".zst": "zstd",
    ".zstd": "zstd",
    ".bz2": "bzip2",
    ".xz": "xz",
}
LINE_SUFFIXES = (".jsonl", ".ndjson", ".json", ".jsonlines")
#: What may stand behind the suffix that says the kind: rotation and copies.
BEHIND = re.compile(r"(?:\.\d{1,10}|[.-]\d{4}-?\d\d-?\d\d(?:[-T_.]?\d{2,6})?|\.old|\.bak|\.orig|~)$")
#: Text that people write or programs are made of; also a name without a suffix, as README.
PROSE = (
    "txt text md markdown mdx rst adoc asciidoc org tex bib htm html xhtml xml wiki man srt vtt log out ini cfg "
    "conf toml yaml yml properties css scss less sql graphql proto diff patch cmake mk py pyi pyx ipy c h cc cpp "
    "cxx hh hpp cu cuh java kt kts scala groovy js mjs cjs jsx ts tsx vue svelte go rs rb php pl pm lua r jl m mm "
    "swift cs fs vb hs ml mli erl ex exs clj lisp el scm rkt sh bash zsh fish ps1 bat asm s f f90 for pas d dart "
    "nim zig v sv vhd tcl awk sed eml tf gradle dockerfile makefile "
)
PROSE_SUFFIXES = frozenset(f".{word}" for word in PROSE.split())
#: Bytes at the start of what is no text, though some of it may look so.
BINARY = (
    b"%PDF",
    b"PK\x03\x04",
    b"\x7fELF",
    b"OggS",
    b"ARROW1",
    b"Obj\x01",
    b"ORC",
    b"SQLite format 3",
    b"{\\rtf",
    b"Rar!",
)
LFS_POINTER = b"version https://git-lfs.github.com/spec/"


class UnknownKindError(ValueError):
    """A file that is none of the kinds that can be read; the message is why, without the file's name."""


def codec_of(name: str, head: bytes) -> Codec | None:
    """Tell how a file is packed by its first bytes; a name decides only where the bytes are no text either.

    >>> codec_of("a.jsonl.gz", b'{"text": "the download unpacked it"}'), codec_of("a.jsonl", bytes([0x1F, 0x8B, 8]))
    (None, 'gzip')
    """
    for magic, codec in MAGIC:
        if head.startswith(magic):
            return codec
    if head[:3] == b"BZh" and head[4:10] in (b"\x31\x41\x59\x26\x53\x59", b"\x17\x72\x45\x38\x50\x90"):
        return "bzip2"
    if head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F:  # a frame to be skipped, before the first of data
        return "zstd"
    named = next((codec for suffix, codec in PACKED_SUFFIXES.items() if _bare(name).endswith(suffix)), None)
    return named if named and not (len(head) > 10 and looks_like_text(head[:4096])) else None


def encoding_of(head: bytes) -> Encoding:
    """Tell the encoding of unpacked bytes by their mark, or by the zeros beside a first bracket."""
    if head.startswith((b"\xff\xfe\0\0", b"{\0\0\0")):
        return "utf-32-le"
    if head.startswith((b"\0\0\xfe\xff", b"\0\0\0{")):
        return "utf-32-be"
    if head.startswith(b"\xff\xfe") or re.match(rb'[{\["]\0[ -~\r\n\t]\0', head):
        return "utf-16-le"
    if head.startswith(b"\xfe\xff") or re.match(rb'\0[{\["]\0[ -~\r\n\t]', head):
        return "utf-16-be"
    return "utf-8"


def sniffed_format(name: str, head: bytes, text_field: str) -> Format:
    """Tell what a file is by the first bytes of what it holds unpacked, in UTF-8; its name decides between texts.

    UnknownKindError if it is nothing that can be read.
    """
    if head.startswith(LFS_POINTER):
        raise UnknownKindError("it is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`")
    if head.startswith(b"PAR1"):
        return "parquet"
    bare = _bare(name)
    for suffix in PACKED_SUFFIXES:
        bare = _bare(bare.removesuffix(suffix))
    stem, dot, last = bare.rpartition("/")[2].rpartition(".")
    suffix = dot + last if stem else ""  # .profile has none
    if suffix in LINE_SUFFIXES:
        return "jsonl"
    if suffix in (".parquet", ".parq", ".pq"):
        return "parquet"
    if suffix in (".csv", ".tsv"):
        return "csv" if suffix == ".csv" else "tsv"
    if head.startswith(BINARY) or (b"\0" in head and suffix not in PROSE_SUFFIXES):
        raise UnknownKindError("it is binary; set sources.<label>.path so that it does not match, or unpack it")
    if _is_json_line(head, text_field if suffix in PROSE_SUFFIXES - {".log", ".out"} else None):
        return "jsonl"
    if suffix and suffix not in PROSE_SUFFIXES:
        raise UnknownKindError(
            f"nobody knows what {suffix!r} holds; set format (jsonl, csv, tsv, parquet, text or lines) for the source, "
            "or a path that does not match it"
        )
    return "text"


def looks_like_text(head: bytes) -> bool:
    """Say whether bytes are UTF-8 without control characters of machines; the last character may be cut.

    >>> looks_like_text("wässrig".encode()[:2]), looks_like_text(b"PK\\3\\4"), looks_like_text(b"\\xff")
    (True, False, False)
    """
    if any(byte < 32 and byte not in (8, 9, 10, 11, 12, 13, 27, 28, 29, 30, 31) for byte in head):
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3 and error.reason == "unexpected end of data"
    return True


def _bare(name: str) -> str:
    """A name in lower case, without what a rotation or a copy puts behind it.

    >>> _bare("App.jsonl.1"), _bare("app.jsonl-20240131"), _bare("app.log.gz.old")
    ('app.jsonl', 'app.jsonl', 'app.log.gz')
    """
    return BEHIND.sub("", name.lower())


def _is_json_line(head: bytes, text_field: str | None) -> bool:
    """Say whether the first line is a JSON object (with the text, if a field is named): others may follow later."""
    line, newline, _ = head.removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")
    if not newline and len(head) >= HEAD_BYTES:
        return re.match(rb'\{\s*"', line) is not None and (text_field or "").encode() in line
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return isinstance(record, dict) and (text_field is None or text_field.split(".")[0] in record)
