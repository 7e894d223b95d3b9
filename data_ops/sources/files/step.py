"""What did one look into a file give, and what is said of what it left?"""

from dataclasses import dataclass, field

from data_ops.sources.files.entry import Entry
from data_ops.sources.files.formats.streams import head_of
from data_ops.sources.files.walk import FileState
from data_ops.sources.protocol import Span, Untaken

REPLACE = "put a whole copy in its place to have it read"
UNFINISHED = {
    "half_line": "ends inside a line",
    "no_footer": "has no Parquet footer yet",
    "cut_stream": "ends inside a compressed stream, or a character",
}


@dataclass
class Step:
    """What one look into one file gave."""

    spans: list[Span]
    entry: Entry
    warnings: list[str] = field(default_factory=list)
    waiting: Untaken | None = None


def damaged(file: FileState) -> Untaken:
    """What of a damaged file is not taken: nobody knows how much of it there would be, so its size is told."""
    return Untaken(file.partition, "unreadable", "damaged_file", file.size)


def waiting(step: Step, file: FileState, reason: str, num_bytes: int) -> Step:
    """Add to a step what of the file waits, if its state says so; a person is told once the file is quiet."""
    if step.entry.state not in ("waits", "stalled"):
        return step
    stalled = step.entry.state == "stalled"
    step.waiting = Untaken(file.partition, "waiting", reason if stalled else "changing", num_bytes)
    if stalled:
        why = _no_lines(file) if reason == "half_line" and step.entry.end == 0 else None
        what = why or f"{UNFINISHED[reason]}; what follows waits, and is read when it goes on"
        step.warnings.append(f"{file.partition} {what}")
    return step


def _no_lines(file: FileState) -> str | None:
    """Say why a file without a whole line will hardly get one: it is a list of JSON, or its lines end otherwise."""
    head = head_of(file.partition)
    if head.lstrip(b"\xef\xbb\xbf \t\r").startswith(b"["):
        return "is one list of JSON, but a record a line is read; write its objects a line each (jq -c '.[]')"
    if b"\r" in head.rstrip(b"\r") and b"\n" not in head:
        return "has lines that end in a carriage return alone; write them with line feeds (tr '\\r' '\\n')"
    return None
