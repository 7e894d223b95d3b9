"""How is metrics.jsonl written, so that no trouble with it ends a run, and no line is ever glued to another?

On a local disk every event is appended at once. What a full disk does not take waits in memory and is written with a
later event; of a line that was taken in part, the part is cut off again. A bucket cannot append, so there a thread
rewrites the file now and then; a crash loses the lines since.
"""

import errno
import logging
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import orjson

from cluster.storage.store import Store

logger = logging.getLogger(__name__)
LONGEST_PAUSE = 10  # times flush_every, between two writes to a bucket
MOST_WAITING = 64 * 2**20  # bytes kept for a disk that may be freed; older lines go then


class JsonLines:
    """The event log of a run: a line an event."""

    def __init__(self, store: Store, path: str, flush_every_s: float = 30.0, most_waiting: int = MOST_WAITING) -> None:
        """Go on with the file that is there; nothing is written yet."""
        local = store.local_path(path)
        self._log: _Appended | _Rewritten
        self._log = _Rewritten(store, path, flush_every_s) if local is None else _Appended(local, most_waiting)

    def log(self, event: Mapping[str, object]) -> None:
        """Add one line; what the disk or the network does to it is a warning."""
        self._log.add(orjson.dumps(event, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE))

    def flush(self) -> None:
        """Write what is not written yet; a failure is a warning, and tried again with the next event."""
        self._log.flush()

    def close(self) -> None:
        """Write the rest."""
        self._log.close()


class _Appended:
    """A local file."""

    def __init__(self, path: Path, most_waiting: int) -> None:
        self.path, self.most_waiting = path, most_waiting
        self.waiting, self.in_trouble = bytearray(), False

    def add(self, line: bytes) -> None:
        self.waiting += line
        self.flush()
        if len(self.waiting) > self.most_waiting:
            del self.waiting[: self.waiting.index(b"\n", len(self.waiting) - self.most_waiting) + 1]

    def flush(self) -> None:
        if not self.waiting:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._append()
        except OSError as error:
            if not self.in_trouble:
                logger.warning("%s takes no lines, they are kept in memory for now: %s", self.path, error)
            self.in_trouble = True
            return
        if self.in_trouble:
            logger.warning("%s takes lines again; none is missing", self.path)
        self.in_trouble = False

    def _append(self) -> None:
        """Append what waits, whole lines only; OSError where the rest stays to wait."""
        file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            end = os.fstat(file).st_size
            torn = end > 0 and os.pread(file, 1, end - 1) != b"\n"  # by a writer that was killed
            data = (b"\n" if torn else b"") + bytes(self.waiting)
            written = os.write(file, data)
            if written < len(data):
                whole = data.rfind(b"\n", 0, written) + 1
                if os.fstat(file).st_size == end + written:  # and nobody else has appended meanwhile
                    os.ftruncate(file, end + whole)
                del self.waiting[: max(0, whole - int(torn))]
                raise OSError(errno.ENOSPC, "the disk is full")
            self.waiting.clear()
        finally:
            os.close(file)

    def close(self) -> None:
        self.flush()
        if self.waiting:
            logger.warning("%d bytes of events are not in %s: its disk is full", len(self.waiting), self.path)


class _Rewritten:
    """An object of a bucket."""

    def __init__(self, store: Store, path: str, flush_every_s: float) -> None:
        self.store, self.path, self.lock = store, path, threading.Lock()
        self.lines = bytearray(store.read(path) if store.exists(path) else b"")
        self.written, self.closed = len(self.lines), threading.Event()
        self.thread = threading.Thread(target=self._rewrite_now_and_then, args=(flush_every_s,), daemon=True)
        self.thread.start()

    def add(self, line: bytes) -> None:
        with self.lock:
            self.lines += line

    def flush(self) -> None:
        with self.lock:
            data = bytes(self.lines)
        if len(data) == self.written:
            return
        try:
            self.store.write(self.path, data)
        except OSError as error:
            logger.warning("metrics are kept in memory for now: %s", error)
            return
        self.written = len(data)

    def close(self) -> None:
        self.closed.set()
        self.thread.join()
        self.flush()

    def _rewrite_now_and_then(self, flush_every_s: float) -> None:
        pause_s = flush_every_s
        while not self.closed.wait(pause_s):
            began = time.monotonic()
            self.flush()
            # At most 5 % of the time writing; but a network that hung once must not keep the next lines back for long.
            pause_s = min(max(flush_every_s, 20 * (time.monotonic() - began)), LONGEST_PAUSE * flush_every_s)
