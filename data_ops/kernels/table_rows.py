"""Where do the rows of a comma or tab separated file end? At a newline that stands in no quoted field (RFC 4180).

A quote opens a field only at its start, as the csv module reads it, so that an inch sign in the middle of a field is a
character. A quote that nobody closed must not swallow a file: a quoted field of more bytes than a record may have ends
at its next newline, so that what is lost to it is bounded. The state is carried from block to block; a compiled pass
takes 1 ns a byte.
"""

import numpy as np
import numpy.typing as npt
from numba import njit

AT_START = 0  # of a field: what a row begins with


def row_ends(block: bytes, delimiter: int, state: int, most: int) -> tuple[npt.NDArray[np.int64], int]:
    """Return the positions behind the newlines that end a row, and the state behind the block.

    most: bytes that a quoted field may hold.

    >>> row_ends(b'a,b' + bytes([10]) + b'"c' + bytes([10]) + b'd",e' + bytes([10]), ord(","), AT_START, 100)
    (array([ 4, 12]), 0)
    """
    data = np.frombuffer(block, dtype=np.uint8)
    ends = np.empty(block.count(b"\n"), dtype=np.int64)
    count, state = _scan(data, delimiter, state, most, ends)
    return ends[:count], int(state)


@njit(cache=True)
def _scan(data, delimiter, state, most, ends):  # type: ignore[no-untyped-def]
    """States: 0 at the start of a field, 1 in a plain one, 2 in a quoted one, 3 behind a quote in a quoted one.

    Between blocks four times the bytes of the quoted field so far are added to it.
    """
    count, quoted, state = 0, state >> 2, state & 3
    for i in range(len(data)):
        byte = data[i]
        if state == 2:
            quoted += 1
            if byte == 34:
                state = 3
            elif byte == 10 and quoted > most:
                ends[count] = i + 1
                count += 1
                state = 0
        elif state == 3 and byte == 34:
            state = 2
        elif byte == 10:
            ends[count] = i + 1
            count += 1
            state = 0
        elif byte == delimiter:
            state = 0
        elif byte == 34 and state == 0:
            state, quoted = 2, 0
        elif state != 3 or byte != 13:
            state = 1
    return count, (state | quoted << 2 if state >= 2 else state)
