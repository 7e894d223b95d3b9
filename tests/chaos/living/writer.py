"""Who writes the corpus while the run reads it: real paragraphs, each with the moment it was written."""

import json
import sysconfig
import threading
import time
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from random import Random

FLUSH_S = 0.5  # lines are appended this often
SHORTEST, LONGEST = 120, 900  # characters of a paragraph


@lru_cache(maxsize=1)
def paragraphs() -> list[str]:
    """Some 67,000 different paragraphs of the Python library, in an order that is the same everywhere."""
    library, found = Path(sysconfig.get_path("stdlib")), dict[str, None]()
    for path in sorted(library.rglob("*.py")):
        if "site-packages" not in path.parts:
            for text in path.read_text(encoding="utf-8", errors="ignore").split("\n\n"):
                if SHORTEST <= len(text.strip()) <= LONGEST:
                    found[text.strip()] = None
    texts = list(found)
    Random(7).shuffle(texts)
    return texts


class Writer:
    """Appends so many documents a second to one file, until it is ended."""

    def __init__(self, path: Path, a_second: float) -> None:
        self.path, self.a_second = path, a_second
        self.written = 0
        self.poisoned = False  # shuffle the characters of what is written now
        self.ends = threading.Event()
        self.thread = threading.Thread(target=self._work, daemon=True)
        path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, count: int) -> None:
        """Append documents now."""
        with self.path.open("a") as file:
            for text in paragraphs()[self.written : self.written + count]:
                body = "".join(Random(text).sample(text, len(text))) if self.poisoned else text
                file.write(json.dumps({"body": body, "at": datetime.now(UTC).isoformat()}) + "\n")
        self.written += count

    def _work(self) -> None:
        began, already = time.monotonic(), self.written
        while not self.ends.wait(FLUSH_S):
            due = already + int((time.monotonic() - began) * self.a_second)
            self.write(max(0, due - self.written))

    def __enter__(self) -> "Writer":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ends.set()
        self.thread.join()
