"""What is in a file: how is it packed, in which encoding, and is it lines, a table, Parquet or prose?

The first bytes decide, the name is a hint: names outlive a download that unpacks, a rotation and a copy. What is none
of these is refused with a sentence (`UnknownKindError`), because a binary file or a table read as prose would be
trained on without anybody noticing.
"""

import re
from typing import Literal, NamedTuple

import orjson

from data_ops.sources.files.formats.unpack import Codec, Limits

Format = Literal["jsonl", "parquet", "text", "lines", "csv", "tsv"]
Encoding = Literal["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]
HEAD_BYTES = 64 << 10
SEEN_BYTES, LATIN_SHARE = 512, 0.7  # what tells UTF-16 without a mark
JSON_LINES = 8  # so many lines are looked at to tell lines of JSON behind a torn one
MAGIC: tuple[tuple[bytes, Codec], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"]\0\0", "xz"),  # lzma, as it was before xz
)
PACKED_SUFFIXES: dict[str, Codec] = {
    ".gz": "gzip",
    ".gzip": "gzip",
    ".zst": "zstd",
    ".zstd": "zstd",
    ".bz2": "bzip2",
    ".xz": "xz",
    ".lzma": "xz",
}
TABLES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".parq": "parquet",
    ".pq": "parquet",
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
#: Bytes at the start of what is no text, though some of it may look so; a word that a text may begin with says it
#: only where what follows is none.
BINARY: dict[bytes, str] = {
    b"%PDF-": "a PDF",
    b"{\\rtf": "a rich text",
    b"SQLite format 3\0": "an SQLite database",
    b"PK\x03\x04": "a zip archive, or a document of an office",
    b"PK\x05\x06": "an empty zip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a rar archive",
    b"\x1f\x8b": "packed twice: gzip within",
    b"\x28\xb5\x2f\xfd": "packed twice: Zstandard within",
    b"\xfd7zXZ\0": "packed twice: xz within",
    b"BZh": "packed twice: bzip2 within",
    b"\x04\x22\x4d\x18": "packed with lz4",
    b"\x1f\x9d": "packed with compress",
    b"\x7fELF": "a program",
    b"ARROW1": "an Arrow file",
    b"Obj\x01": "an Avro file",
    b"ORC": "an ORC file",
    b"\x93NUMPY": "an array of NumPy",
    b"\x80\x02": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"GIF8": "a picture",
    b"OggS": "a recording",
}
TAR = slice(257, 262), b"ustar"
SURE = (b"%PDF-", b"{\\rtf")
LFS_POINTER = b"version https://git-lfs.github.com/spec/"


class UnknownKindError(ValueError):
    """A file that is none of the kinds that can be read; the message is why, without the file's name."""


class FileKind(NamedTuple):
    """How a file is read, and what that may cost."""

    format: Format
    limits: Limits

    @property
    def has_lines(self) -> bool:
        """Whether it grows by lines or rows; Parquet and prose come as a whole."""
        return self.format not in ("parquet", "text")


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
    if len(head) > 4 and b"\0" in head[:4]:
        for encoding in ("utf-32-le", "utf-32-be"):
            if _is_wider(head[: min(len(head), SEEN_BYTES) & ~3], encoding):
                return encoding
    first, second = head[:SEEN_BYTES:2], head[1:SEEN_BYTES:2]
    if _is_wide(first, second):
        return "utf-16-le"
    return "utf-16-be" if _is_wide(second, first) else "utf-8"


def _is_wider(head: bytes, encoding: str) -> bool:
    """Say whether these are 32-bit characters, none of which is a control: no other text has three zeros in four."""
    try:
        return not _controls(head.decode(encoding).encode())
    except UnicodeDecodeError:
        return False


def _is_wide(low: bytes, high: bytes) -> bool:
    """Say whether these are the halves of 16-bit characters of which most are Latin, and none is a control."""
    latin = [byte for byte, above in zip(low, high, strict=False) if above == 0]
    return len(low) > 1 and len(latin) > LATIN_SHARE * len(low) and not _controls(bytes(latin))


def sniffed_format(name: str, head: bytes, text_field: str) -> Format:
    """Tell what a file is by the first bytes of what it holds unpacked, in UTF-8; its name decides between texts.

    UnknownKindError if it is nothing that can be read.
    """
    if head.startswith(LFS_POINTER):
        raise UnknownKindError("it is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`")
    if head.startswith(b"PAR1"):
        return "parquet"
    suffix = kind_suffix(name)
    if what := _binary(head):
        raise UnknownKindError(f"it is {what}; unpack it, or set sources.<label>.path so that it does not match")
    if suffix in LINE_SUFFIXES:
        return "jsonl"
    is_prose = suffix in PROSE_SUFFIXES - {".log", ".out"}
    may_be_torn = not is_prose and suffix not in TABLES
    if _is_json_lines(head, text_field if is_prose else None, may_be_torn=may_be_torn):
        return "jsonl"
    if TABLES.get(suffix) == "parquet":
        if head[:1] == b"<":
            raise UnknownKindError("its name says Parquet, but it is a page of markup, as servers send for an error")
        return "parquet"
    if suffix in TABLES:
        return TABLES[suffix]
    if b"\0" in head and suffix not in PROSE_SUFFIXES:
        raise UnknownKindError("it is binary; set sources.<label>.path so that it does not match, or unpack it")
    if suffix and suffix not in PROSE_SUFFIXES:
        raise UnknownKindError(
            f"nobody knows what {suffix!r} holds; set format (jsonl, csv, tsv, parquet, text or lines) for the source, "
            "or a path that does not match it"
        )
    return "text"


def kind_suffix(name: str) -> str:
    """The suffix that says what a file is, in lower case, without what packing, a rotation or a copy puts behind it.

    >>> kind_suffix("2024/App.jsonl.gz.1"), kind_suffix(".profile")
    ('.jsonl', '')
    """
    bare = _bare(name)
    for suffix in PACKED_SUFFIXES:
        bare = _bare(bare.removesuffix(suffix))
    stem, dot, last = bare.rpartition("/")[2].rpartition(".")
    return dot + last if stem else ""


def looks_like_text(head: bytes) -> bool:
    """Say whether bytes are UTF-8 without control characters of machines; the last character may be cut.

    >>> looks_like_text("wässrig".encode()[:2]), looks_like_text(b"PK\\3\\4"), looks_like_text(b"\\xff")
    (True, False, False)
    """
    if _controls(head):
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3 and error.reason == "unexpected end of data"
    return True


def _controls(head: bytes) -> bool:
    return any(byte < 32 and byte not in (8, 9, 10, 11, 12, 13, 27, 28, 29, 30, 31) for byte in head)


def _bare(name: str) -> str:
    """A name in lower case, without what a rotation or a copy puts behind it.

    >>> _bare("App.jsonl.1"), _bare("app.jsonl-20240131"), _bare("app.log.gz.old")
    ('app.jsonl', 'app.jsonl', 'app.log.gz')
    """
    return BEHIND.sub("", name.lower())


def _binary(head: bytes) -> str | None:
    """Name what these bytes begin, if it is known and no text."""
    for magic, what in BINARY.items():
        if head.startswith(magic) and (magic in SURE or not looks_like_text(head[:4096])):
            return what
    return "a tar archive" if head[TAR[0]] == TAR[1] else None


def _is_json_lines(head: bytes, text_field: str | None, *, may_be_torn: bool) -> bool:
    """Say whether lines are JSON objects (with the text, if a field is named): the first, or most behind a torn one.

    An object that is not whole yet counts as one, because what follows is on its way.
    """
    lines = head.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n")
    if len(lines) == 1 and not _is_object(lines[0], text_field):
        begins = re.match(rb'\{\s*"', lines[0]) is not None and (text_field or "").encode() in lines[0]
        return begins and (len(head) >= HEAD_BYTES or not _is_whole(lines[0]))
    if _is_object(lines[0], text_field) or not may_be_torn:
        return _is_object(lines[0], text_field)
    whole = [line for line in lines[1:-1][:JSON_LINES] if line.strip()]
    return 2 * sum(_is_object(line, text_field) for line in whole) > len(whole)


def _is_whole(line: bytes) -> bool:
    return line.rstrip().endswith(b"}")


def _is_object(line: bytes, text_field: str | None) -> bool:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return isinstance(record, dict) and (text_field is None or text_field.split(".")[0] in record)
