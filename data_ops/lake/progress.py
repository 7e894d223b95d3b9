"""How far has ingest come: which windows are planned, which committed, and where do the sources go on?"""

from dataclasses import dataclass, field

from data_ops.lake.lake import Lake
from data_ops.lake.window import Window
from data_ops.sources.protocol import Cursor


@dataclass
class Reach:
    """How far the committed windows reach, kept between windows so that their whole log is read only once."""

    next_window: int = -1  # -1: the lake was not asked yet
    cursors: dict[str, Cursor] = field(default_factory=dict)

    def catch_up(self, lake: Lake) -> Window | None:
        """Take in what was committed since; returns the window that is planned but not committed."""
        self.next_window = max(self.next_window, 0)
        for number, cursors in lake.cursors(self.next_window):
            self._move(number, cursors)
        committed, planned = lake.windows(self.next_window)  # what was committed in this moment, and the open plan
        for window in committed:
            self.take(window)
        return planned

    def take(self, window: Window) -> None:
        """Move behind a window that is committed."""
        self._move(window.window, window.cursors)

    def _move(self, number: int, cursors: dict[str, Cursor]) -> None:
        self.next_window = number + 1
        for label, changed in cursors.items():
            self.cursors.setdefault(label, {}).update(changed)
