"""Which checkpoint answers? The champion of the store, at each look; another one is loaded beside it, then takes over.

Whatever is wrong with a new champion, the old one goes on, and the sentence that says why stands in the log, in
`/health` and in the metrics until it is mended. At most two checkpoints are in memory: before a third is loaded,
the first has given its last answer.
"""

import logging
import threading
from collections.abc import Callable

from cluster.storage.store import Store
from ray_jobs.checkpoints.champion import InService, read_champion
from ray_jobs.checkpoints.manifest import DAMAGES
from ray_jobs.config.blocks import ServeConfig
from ray_jobs.outcome import ConfigError
from ray_jobs.serving.served import ServedCheckpoint, load_served

logger = logging.getLogger(__name__)
WRONG = (*DAMAGES, OSError, RuntimeError, MemoryError)  # what reading or loading a champion fails with


class ChampionWatch:
    """Holds the checkpoint that new requests go to, and exchanges it."""

    def __init__(self, store: Store, precision: str, serve: ServeConfig, tell: Callable[[str], None]) -> None:
        """Load the champion; ConfigError where there is none, DamagedError and the like where it is not whole."""
        self._store, self._precision, self._serve, self._tell = store, precision, serve, tell
        entry = read_champion(store)
        if entry is None:
            raise ConfigError(
                f"store {store.uri} has no champion yet; let a run be judged, or name one: "
                "headrace promote --to RUN/STEP"
            )
        self.current = load_served(store, entry.checkpoint, precision, serve)
        self.trouble: str | None = None
        self.num_swaps = self.num_failures = 0
        self._entry = entry
        self._before: ServedCheckpoint | None = None  # while it still answers
        self._uses: Callable[[ServedCheckpoint], bool] = lambda _: False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="champion")

    def start(self, uses: Callable[[ServedCheckpoint], bool]) -> None:
        """Begin to look; `uses`: does a checkpoint still answer?"""
        self._uses = uses
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        self._thread.join()

    def look(self) -> None:
        """Look once, and load another champion if there is one."""
        if self._before is not None and not self._uses(self._before):
            self._before = None
        try:
            entry = read_champion(self._store)
            if entry is None:
                raise ConfigError(f"the champion pointer of {self._store.uri} is gone")
            if entry != self._entry:
                self._exchange(entry)
        except WRONG as error:
            self._complain(" ".join(str(error).split()) or type(error).__name__)
            return
        if entry == self._entry:
            self.trouble = None

    def _exchange(self, entry: InService) -> None:
        if entry.checkpoint != self.current.name:
            if self._before is not None:
                return  # three would be in memory: at a later look
            served = load_served(self._store, entry.checkpoint, self._precision, self._serve)
            self._before, self.current = self.current, served
            self.num_swaps += 1
            self._tell(f"serving    {served.name}, after {self._before.name}")
        self._entry = entry

    def _complain(self, why: str) -> None:
        self.num_failures += 1
        trouble = f"the champion cannot be served: {why}; {self.current.name} goes on answering"
        if trouble != self.trouble:
            self.trouble = trouble
            self._tell(f"warning    {trouble}")

    def _run(self) -> None:
        wait_s = self._serve.look_every
        while not self._stopping.wait(wait_s):
            self.look()
            # A champion that is damaged costs its reading at each try.
            wait_s = min(2 * wait_s, max(60.0, self._serve.look_every)) if self.trouble else self._serve.look_every
