"""What is known of a file: how it is read, and how far it was read?"""

from typing import NamedTuple

from data_ops.sources.files.formats.content import Format
from data_ops.sources.files.formats.unpack import Limits


class FileKind(NamedTuple):
    """How a file is read, and what that may cost."""

    format: Format
    limits: Limits

    @property
    def has_lines(self) -> bool:
        """Whether it grows by lines or rows; Parquet and prose come as a whole."""
        return self.format not in ("parquet", "text")


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
    state: str
    marked: int = -1  # -1: of an older version
    generation: int = 0
    skipped: int = 0  # bytes behind an object in its line, passed over in all generations
    abandoned: int = 0  # bytes of earlier generations that were seen and are gone
    tail: int = 0  # bytes of the last record if its line was not ended and may have gone on; an object cannot
