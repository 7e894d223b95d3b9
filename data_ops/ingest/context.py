"""What does an ingest work with: into which lake, from which sources, and who hears of it?"""

from collections.abc import Callable
from dataclasses import dataclass, field

from data_ops.ingest.config import IngestSettings
from data_ops.ingest.events import Report, Warned
from data_ops.ingest.open_sources import OpenSources
from data_ops.lake.lake import Lake
from data_ops.lake.progress import Reach


@dataclass
class IngestContext:
    """One ingest and how far it is. Several may take in the same lake: each window is planned and committed once.

    is_alive: whether the owner of a window is at work; a window that it planned from sources that are not ours is left
    to it.
    """

    lake: Lake
    settings: IngestSettings
    follow: bool = False  # wait for more where the sources are drained
    report: Report = lambda event: None
    stop: Callable[[], bool] = lambda: False
    is_alive: Callable[[str], bool] = lambda owner: False
    progress: Reach = field(default_factory=Reach)
    warned: set[str] = field(default_factory=set)
    sources: OpenSources = field(init=False)

    def __post_init__(self) -> None:
        self.sources = OpenSources(self.settings, self.lake.store, follow=self.follow)

    def warn(self, text: str) -> None:
        """Tell something, once."""
        if text not in self.warned:
            self.warned.add(text)
            self.report(Warned(text=text))
