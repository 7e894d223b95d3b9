"""How does a document that was sent survive every crash from the moment it is answered?

It is a line in a segment, a file of JSON lines that only grows and is synced before anybody is told; the source `files`
reads the folder. A crash may leave half a line, which nobody was told of: the next start ends it with a newline and
writes into a new segment, so no byte that a reader may have seen changes, and that line is quarantined as no JSON.
After an error of the disk the segment is not written to again, because nobody knows what a failed sync has kept.
"""

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from cluster.storage.atomic import make_folder

SEGMENT_BYTES = 64 << 20
SUFFIX = ".jsonl"
LOCK = ".listener.lock"


class Spool:
    """The one writer of a folder of segments."""

    def __init__(self, folder: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Take the folder and end what a crash has left. BlockingIOError while another process holds it."""
        self.folder, self.segment_bytes = folder, segment_bytes
        make_folder(folder)
        self._lock = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise
        self._file, self._size = -1, 0
        for segment in self.segments():
            _end_line(segment)

    def segments(self) -> list[Path]:
        """List the segments, oldest first."""
        return sorted(self.folder.glob(f"*{SUFFIX}"))

    def append(self, lines: Sequence[bytes]) -> None:
        """Write lines, each without its newline, and sync them: when this returns they survive a power cut.

        OSError where the disk does not take them; some of them may be there all the same.
        """
        if self._file < 0 or self._size >= self.segment_bytes:
            self._begin()
        data = b"\n".join(lines) + b"\n"
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(self._file, left) :]
            os.fdatasync(self._file)
        except OSError:
            self._leave()
            raise
        self._size += len(data)

    def close(self) -> None:
        """Give the folder back."""
        self._leave()
        os.close(self._lock)

    def _begin(self) -> None:
        self._leave()
        name = self.folder / f"{time.time_ns():020d}{SUFFIX}"
        self._file, self._size = os.open(name, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY, 0o600), 0
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _leave(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def read_lines_back(segments: Sequence[Path]) -> Iterator[bytes]:
    """Yield the lines of segments, the newest segment first, each from its beginning."""
    for segment in reversed(segments):
        with segment.open("rb") as file:
            yield from file


def _end_line(segment: Path) -> None:
    """End what a crash has left of a line, and make sure that what can be read of a segment is on the disk."""
    with segment.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                file.write(b"\n")
                file.flush()
        os.fsync(file.fileno())
