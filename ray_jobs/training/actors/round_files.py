"""Which rounds of a run have a file, so that a restart finds them at once?

The one in training, the next one, and those that a kept checkpoint would go on with. A file that cannot be written
costs a later restart seconds, not correctness, so a full disk is said once and training goes on.
"""

import logging
import threading
from contextlib import suppress

from cluster.storage.store import Store
from data_ops.lake.log import RoundText
from data_ops.rounds import round_file
from data_ops.rounds.manifest import Manifest
from ray_jobs.checkpoints.manifest import DAMAGES, commits, load
from ray_jobs.store.paths import branch_name

logger = logging.getLogger(__name__)


class RoundFiles:
    """The files of one run's rounds."""

    def __init__(self, store: Store, run: str) -> None:
        self.store, self.run = store, run
        self.there: set[str] = set()  # paths read or written here
        self.told = False  # that a file could not be written
        self.writing = threading.Lock()  # the round ahead and the one asked for may be the same

    def read(self, number: int) -> tuple[Manifest, RoundText] | None:
        """Read a round of the main line; None if there is no file of it that can be trusted."""
        return self._read(round_file.round_file(self.store, self.run, number))

    def read_branch(self, step: int) -> tuple[Manifest, RoundText] | None:
        """Read the round of the decay branch that leaves at `step`."""
        return self._read(self._branch(step))

    def keep(self, number: int, manifest: Manifest, text: RoundText) -> None:
        """Write a round of the main line, once."""
        self._write(round_file.round_file(self.store, self.run, number), manifest, text)

    def keep_branch(self, step: int, manifest: Manifest, text: RoundText) -> None:
        """Write the round of a decay branch, once."""
        self._write(self._branch(step), manifest, text)

    def sweep(self) -> None:
        """Delete the files that no kept checkpoint needs."""
        kept = []
        for step in commits(self.store, self.run):
            with suppress(*DAMAGES):
                kept.append(load(self.store, self.run, step))
        if kept:
            rounds = {commit.round for commit in kept}
            round_file.collect(self.store, self.run, kept[-1].round, kept[-1].step, rounds)

    def _branch(self, step: int) -> round_file.RoundFile:
        return round_file.branch_file(self.store, self.run, step, branch_name(self.run, step))

    def _read(self, file: round_file.RoundFile) -> tuple[Manifest, RoundText] | None:
        found = file.read()
        if found is not None:
            self.there.add(file.path)
        return found

    def _write(self, file: round_file.RoundFile, manifest: Manifest, text: RoundText) -> None:
        with self.writing:
            if file.path in self.there:
                return
            try:
                file.write(manifest, text)
                self.there.add(file.path)
            except OSError as error:
                if not self.told:
                    logger.warning("a restart will have to read its round from the lake, which takes longer: %s", error)
                self.told = True
