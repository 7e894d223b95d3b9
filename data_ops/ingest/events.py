"""What does an ingest tell of itself?

Every kind of event is a type, and `time` is when it was made. Kinds of a run stand in ray_jobs/training/events.py.
"""

import time
from collections.abc import Callable

import msgspec


class Happening(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """Something that happened, at unix seconds `time`. Its tag is its kind in metrics.jsonl."""

    time: float = msgspec.field(default_factory=time.time)


class WindowDone(Happening, frozen=True, kw_only=True, tag="window"):
    """A window was committed: what it read, and what became of it by reason."""

    window: int
    seconds: float = 0.0
    read: int = 0
    kept: int = 0
    held_out: int = 0
    quarantined: int = 0
    dropped: dict[str, int] = msgspec.field(default_factory=dict)
    quarantined_by: dict[str, int] = msgspec.field(default_factory=dict)
    times: dict[str, int] = msgspec.field(default_factory=dict)  # event times by what had to be done to them
    behind: dict[str, int] = msgspec.field(default_factory=dict)  # records that wait behind it, by source


class Warned(Happening, frozen=True, kw_only=True, tag="warning"):
    """A person may have to act."""

    text: str


Report = Callable[[WindowDone | Warned], None]
