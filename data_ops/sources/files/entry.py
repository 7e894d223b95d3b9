"""How far was a file read?"""

from typing import Literal, NamedTuple

State = Literal["read", "cut", "waits", "stalled", "ended", "damaged", "rewritten"]


class Entry(NamedTuple):
    """What the cursor knows of a file; a JSON list there. An older version wrote the first six.

    state: "read" all there is, "cut" by a window, "waits" for an unfinished end, "stalled" in one though it is quiet,
    "ended" in a whole object without a newline, "damaged" so that nothing behind can be read. "rewritten" is of older
    versions, which read such a file no further.
    """

    size: int
    modified_ns: int
    end: int  # bytes (decompressed) or rows of this generation that were read
    num_records: int  # of all generations
    mark: str  # fingerprint of the first `marked` bytes as stored
    state: State
    marked: int = -1  # -1: of an older version
    generation: int = 0
    skipped: int = 0  # bytes behind an object in its line, passed over in all generations
    abandoned: int = 0  # bytes of earlier generations that were seen and are gone
    tail: int = 0  # bytes of the last record if its line was not ended and may have gone on; an object cannot
    total: int = -1  # CRC-32 of the unpacked bytes [0, end) of lines, of the stored ones of a text; -1: not known
    holes: bool = False  # whether zeros were among them: a download may fill them later


def is_file(partition: str) -> bool:
    """Say whether a key of the cursor is a file, and not the queue that tells of files."""
    return not partition.startswith(("https://", "http://"))
