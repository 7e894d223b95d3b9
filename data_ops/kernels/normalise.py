"""What is the one spelling of a text?

Unicode NFC, line ends as LF, no control characters but tab and newline, no spaces or tabs before a line end, no white
space around the text. Controls that separate (form feed, vertical tab, NEL, the separators of ASCII) become LF or a
space, so that the words beside them stay apart, as do those that end a string, a block, a file or a cell (NUL, ETX,
EOT, ETB, EM, SUB, BEL) where no blank is yet; the others go. One compiled pass over a batch does all but NFC, which
Python does only where text is not ASCII. Only ASCII white space counts as such; indentation inside a text is kept.
"""

import unicodedata

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from data_ops.kernels.arrays import string_buffers


def normalise(texts: pa.Array) -> pa.Array:
    """Normalise every text of a string array without nulls; idempotent.

    >>> normalise(pa.array(["  one \\r\\ntwo\\x00 "])).to_pylist()
    ['one\\ntwo']
    """
    offsets, data = string_buffers(texts)
    first = int(offsets[0])
    source = np.frombuffer(data, dtype=np.uint8)[first : int(offsets[-1])]
    source.flags.writeable = False  # one compiled version, whether the buffer may be written or not
    target = np.empty(len(source), dtype=np.uint8)
    bounds = np.zeros(len(offsets), dtype=np.int64)
    ascii_only = np.empty(len(texts), dtype=np.bool_)
    _clean(source, offsets - first, target, bounds, ascii_only)
    clean = string_array(target[: bounds[-1]], bounds)
    return clean if ascii_only.all() else _compose(clean, np.flatnonzero(~ascii_only))


def string_array(data: npt.NDArray[np.uint8], bounds: npt.NDArray[np.int64]) -> pa.Array:
    """Build a string array around UTF-8 bytes and their len+1 offsets."""
    if bounds[-1] >= 2**31:
        raise ValueError(f"{bounds[-1]} bytes do not fit one string array; curate fewer records at once")
    buffers = [None, pa.py_buffer(bounds.astype(np.int32)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.string(), len(bounds) - 1, buffers)


def _compose(texts: pa.Array, rows: npt.NDArray[np.int64]) -> pa.Array:
    """Bring the given rows to NFC; most text is already, and is then left where it is."""
    strings = texts.take(pa.array(rows)).to_pylist()
    changed = {
        int(row): unicodedata.normalize("NFC", text)
        for row, text in zip(rows, strings, strict=True)
        if not unicodedata.is_normalized("NFC", text)
    }
    if not changed:
        return texts
    mask = np.zeros(len(texts), dtype=np.bool_)
    mask[list(changed)] = True
    return pc.replace_with_mask(texts, pa.array(mask), pa.array(changed.values(), pa.string()))


@njit(cache=True)
def _clean(source, offsets, target, bounds, ascii_only):  # type: ignore[no-untyped-def]
    """Copy each text to `target`, byte by byte only where there is something to clean."""
    out = 0
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        while begin < end and source[begin] <= 32:
            begin += 1
        while begin < end and source[end - 1] <= 32:
            end -= 1
        dirty, ascii_only[row] = _look(source, begin, end)
        if dirty:
            out = _clean_one(source, begin, end, target, out)
        else:
            into, text = target[out : out + end - begin], source[begin:end]
            for i in range(len(text)):  # into[:] = text takes 3 s to compile, for the words of its error
                into[i] = text[i]
            out += end - begin
        bounds[row + 1] = out


@njit(cache=True)
def _look(source, begin, end):  # type: ignore[no-untyped-def]
    """Say whether a trimmed text may need cleaning, and whether it is ASCII; branch-free, for SIMD."""
    dirty = high = before = np.uint8(0)
    for i in range(begin, end):
        byte = source[i]
        control = (byte < 32) & (byte != 9) & (byte != 10)
        blank_at_end = ((before == 32) | (before == 9)) & (byte == 10)
        dirty |= np.uint8(control | (byte == 127) | (byte == 0xC2) | blank_at_end)
        high |= byte
        before = byte
    return dirty != 0, high < 128


@njit(cache=True)
def _clean_one(source, begin, end, target, out):  # type: ignore[no-untyped-def]
    """Copy one text to `target` at `out` cleaned; return where it ends.

    `solid` is where the output would end if the text ended here (after the last byte that is not blank),
    `line` where it would end if the line did. For "a  \\n b " both are 1 at the newline, which overwrites
    the spaces.
    """
    start = solid = line = out
    i = begin
    while i < end:
        byte = source[i]
        i += 1
        if byte > 32 and byte != 127 and byte != 0xC2:
            target[out] = byte
            out += 1
            solid = line = out
        elif byte == 32 or byte == 9 or byte == 31:  # US separates fields
            if solid > start:
                target[out] = 9 if byte == 9 else 32
                out += 1
        elif (10 <= byte <= 13) or (28 <= byte <= 30) or (byte == 0xC2 and source[i] == 0x85):
            # VT, FF, FS, GS, RS and NEL separate lines, pages and records
            if byte == 0xC2 or (byte == 13 and i < end and source[i] == 10):
                i += 1
            if solid > start:
                target[line] = 10
                out = line = line + 1
        elif byte == 0 or byte == 3 or byte == 4 or byte == 7 or byte == 23 or byte == 25 or byte == 26:
            if out == solid and solid > start:  # NUL, ETX, EOT, BEL, ETB, EM, SUB: one blank for a run of them
                target[out] = 32
                out += 1
        elif byte == 0xC2:  # C2 80 .. C2 9F are the control characters U+0080 .. U+009F
            if source[i] >= 0xA0:
                target[out] = byte
                target[out + 1] = source[i]
                out += 2
                solid = line = out
            i += 1
    return solid
