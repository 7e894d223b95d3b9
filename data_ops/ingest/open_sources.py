"""What does an ingest know of its sources between two looks?

They are opened once, because what they remember of files that are being written goes by a clock of this process, and
what they had not given at the last look is written down where it changed (data_ops/lake/untaken.py).
"""

from cluster.storage.store import Store
from data_ops.ingest.config import IngestSettings
from data_ops.lake.untaken import Remainder, read_remainders, remainder_of, write_remainder
from data_ops.sources.kinds import open_source
from data_ops.sources.protocol import Discovery, Source


class OpenSources:
    """The sources of an ingest by label."""

    def __init__(self, settings: IngestSettings, store: Store, *, follow: bool) -> None:
        """follow: whether more is waited for where they are drained."""
        self.opened: dict[str, Source] = {label: open_source(label, c) for label, c in settings.sources.items()}
        for source in self.opened.values():
            source.begin(follow=follow)
        self.behind: dict[str, int] = {}  # records behind the last window that was planned, where a source tells
        self._store = store
        self._now: dict[str, Remainder] = {}
        self._written: dict[str, Remainder] | None = None

    def note(self, label: str, seen: Discovery) -> None:
        """Take in what a source did not give at a look."""
        self._now[label] = remainder_of(seen.untaken)
        if seen.num_behind is not None:
            self.behind[label] = seen.num_behind

    def write(self) -> None:
        """Write down what was noted, where it is not what the store says."""
        if self._written is None:
            try:
                self._written = read_remainders(self._store)
            except ValueError:
                self._written = {}  # it is written anew
        for label, remainder in self._now.items():
            if remainder != self._written.get(label, Remainder()):
                write_remainder(self._store, label, remainder)
                self._written[label] = remainder
