"""What waits for a run? The windows that no start has trained, and what the sources hold behind the last one.

Each source is asked as an ingest asks it (`discover`), without being told to begin: no text is read, nothing is taken
away, and nothing is written. A bucket that notifies a queue is listed instead: its messages belong to the ingest.
"""

from collections.abc import Callable, Mapping

from cluster.storage.store import Store
from data_ops.lake.lake import Lake
from data_ops.lake.progress import Reach
from data_ops.sources.kinds import open_source
from data_ops.sources.protocol import Source, SourceConfig, Span
from ray_jobs.trigger.decision import FreshText

AT_ONCE = 50_000  # records that a source is asked for


class Looker:
    """The sources of a configuration, open as long as somebody waits: what they remember goes by our clock."""

    def __init__(self, store: Store, configs: Mapping[str, SourceConfig]) -> None:
        self._store = store
        self._sources = {label: open_source(label, _listed(config)) for label, config in sorted(configs.items())}
        self._reach = Reach()

    def look(self, trained_window: int, enough: Callable[[FreshText], bool]) -> FreshText:
        """Count what waits behind a window, until it is enough.

        OSError where a source cannot be asked; LossError where it says that something is lost.
        """
        waiting = FreshText()
        lake = Lake(self._store)
        self._reach.catch_up(lake)
        for window in lake.windows(trained_window + 1)[0]:
            for label, spans in window.spans.items():
                waiting = _added(waiting, spans, self._sources.get(label))
        for label, source in self._sources.items():
            cursor = self._reach.cursors.get(label, {})
            while not enough(waiting):
                found = source.discover(cursor, AT_ONCE)
                waiting = _added(waiting, found.spans, source)
                if found.drained or not any(span.num_records for span in found.spans):
                    break
                cursor = found.cursor
        return waiting


def _listed(config: SourceConfig) -> SourceConfig:
    return config.model_copy(update={"notifications": None}) if getattr(config, "notifications", None) else config


def _added(waiting: FreshText, spans: list[Span], source: Source | None) -> FreshText:
    documents = sum(span.num_records for span in spans)
    num_bytes = sum(source.size_of(span) for span in spans) if source is not None else 0
    return FreshText(waiting.documents + documents, waiting.num_bytes + num_bytes)
