"""What was gone at its source before it could be read, and was accepted as lost by `on_loss: continue`?

A loss is written down as a span without records in the plan of the window that went on behind it, so that it stands in
the same commit as the cursor. It is told and counted here; it is no record that was read, so it is no part of the sum.
"""

from collections.abc import Iterable
from typing import NamedTuple

from cluster.readable import many
from data_ops.lake.window import Window

MEANINGS = {
    "trimmed": "were removed from the log",
    "created_again": "went with a topic or table that was deleted and created again",
    "cut_off": "went with the end of a log that was cut off",
    "restored": "may have gone when another database took its place",
    "numbered_anew": "may have gone when its numbers began anew",
    "vacuumed": "went with a file that was removed from its table",
    "replaced": "went with a dataset that another one replaced",
    "promoted": "may have gone when another server took its place",
}


class Loss(NamedTuple):
    """Offsets [start, end) of a partition that were gone when window `window` was planned; both the same: unknown."""

    window: int
    source: str
    partition: str
    start: int
    end: int
    reason: str

    @property
    def num_records(self) -> int:
        """How many records are lost at most; 0 where nobody can tell."""
        return self.end - self.start

    @property
    def sentence(self) -> str:
        """Tell it to a person."""
        why = MEANINGS.get(self.reason, self.reason)
        lost = f"{many(self.num_records, 'record')} ({self.start} to {self.end - 1})" if self.num_records else "records"
        return (
            f"source {self.source}: {lost} of {self.partition} {why} before they were read; accepted in window "
            f"{self.window} by on_loss=continue"
        )


def losses_of(windows: Iterable[Window]) -> list[Loss]:
    """Return every loss that committed windows have written down, in their order."""
    return [
        Loss(window.window, label, span.partition, span.start, span.end, span.loss)
        for window in windows
        for label, spans in sorted(window.spans.items())
        for span in spans
        if span.loss
    ]
