"""What did one look into a file give, and what is said of what it left?"""

from dataclasses import dataclass, field

from data_ops.sources.files.entry import Entry
from data_ops.sources.files.formats.streams import head_of
from data_ops.sources.files.walk import FileState
from data_ops.sources.protocol import Span, Untaken

MEND = "make it readable, it is tried again"
REPLACE = "put a whole copy in its place to have it read"
UNFINISHED = {
    "half_line": "ends inside a line",
    "no_footer": "has no Parquet footer yet",
    "cut_stream": "ends inside a compressed stream, or a character",
}
PASSED = {  # what is not read, by reason, as the beginning and the end of a sentence
    "closed_folder": ("folder", "cannot be read and is left for later (permission is denied); " + MEND),
    "folder_link": ("the link", "leads to a folder and is not followed; name that folder in the path to have it read"),
    "outside_link": (
        "the link",
        "leads out of the folder where the path begins and is not read; name its target in the path to have it read",
    ),
    "odd_key": ("the object", "is not read, parts of its key are empty, . or ..; copy it to a key without them"),
    "unreadable_name": ("the file", "is not read, its name is no UTF-8; rename it"),
    "dead_link": ("the link", "leads to nothing and is left for later; bring its target, or remove the link"),
    "no_file": ("what is called", "is not read, it is a FIFO, a socket or a device; name it so that it does not match"),
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


def passed_over(each: Untaken) -> str:
    """Tell what is not read, and what to do about it."""
    what = PASSED[each.reason]
    return f"{what[0]} {each.partition} {what[1]}"
