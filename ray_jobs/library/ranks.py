"""How do the ranks of somebody else's loop agree where to begin and when a feed ends, without a word to each other?

Rank 0 alone decides: it holds the run's lease, plans, and writes what it decides into the store under the number of its
lease; the others look. A rank takes part only after rank 0 has answered a greeting of its own, so that nobody follows
what a rank 0 that was killed has left behind. A loop may begin several times (a state is loaded, the feed is iterated
again); each time is a *phase*, numbered alike on all ranks, because all of them run the same program.
"""

import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import msgspec

from cluster.storage.state import publish_json, read_json
from cluster.storage.store import Store
from ray_jobs.outcome import ConfigError
from ray_jobs.store.lease import Lease, holder
from ray_jobs.store.paths import run_path

Answer = TypeVar("Answer")
LOOK_EVERY_S = 0.1  # a rank into the store while it waits
GREETED_EVERY_S = 0.5  # rank 0 for ranks that come
ALIVE_EVERY_S = 5.0  # whether rank 0 still lives, while it is waited for
GREETING_S = 600.0  # by which rank 0 has to be there: other machines may load a large model first


class Greeting(msgspec.Struct, frozen=True):
    """A rank is there."""

    rank: int
    world: int


class Welcome(msgspec.Struct, frozen=True):
    """Rank 0 answers: the number of its lease, and how many ranks it counts."""

    lease: int
    world: int


class Agreed(msgspec.Struct, frozen=True):
    """Where a phase begins (steps that are in the weights), or with which round it ends."""

    number: int


class Ranks:
    """One rank's side; rank 0 gives the lease that it holds."""

    def __init__(
        self, store: Store, run: str, place: tuple[int, int], lease: Lease | None, closed: threading.Event
    ) -> None:
        """place: this rank and the number of ranks; closed: set when the feed is.

        Raises ConfigError where rank 0 counts another number of ranks.
        """
        rank, world = place
        if not 0 <= rank < world:
            raise ConfigError(f"rank={rank} of world={world} ranks: ranks count from 0 to world - 1")
        self.store, self.run, self.rank, self.world = store, run, rank, world
        self.closed = closed
        if lease is not None:
            self.lease = lease.number
            for path in store.list(run_path(run, "ranks")):  # of feeds that were killed: we hold the lease. One by one,
                store.delete(path)  # for a folder that goes while another rank writes into it fails that rank
            if world > 1:
                threading.Thread(target=self._welcome, daemon=True, name="ranks").start()
        else:
            self.lease = self._greet()

    def decide(self, phase: int, what: str, number: int) -> None:
        """Rank 0: tell the others."""
        if self.world > 1:
            publish_json(self.store, self._path(phase, what), Agreed(number))

    def decided(self, phase: int, what: str) -> int | None:
        """What rank 0 has decided; None while it has not."""
        with suppress(FileNotFoundError):
            return read_json(self.store, self._path(phase, what), Agreed).number
        return None

    def wait_for(self, ask: Callable[[], Answer | None]) -> Answer:
        """Ask until there is an answer; RuntimeError once rank 0 is gone."""
        looked = time.monotonic()
        while (answer := ask()) is None:
            time.sleep(LOOK_EVERY_S)
            if time.monotonic() - looked > ALIVE_EVERY_S:
                self.check_alive()
                looked = time.monotonic()
        return answer

    def check_alive(self) -> None:
        """Raise RuntimeError where rank 0 does not feed this run any more."""
        lease = holder(self.store, self.run)
        if lease is None or lease.number != self.lease:
            raise RuntimeError(f"rank 0 does not feed run {self.run} any more; start all ranks again")

    def _path(self, phase: int, what: str) -> str:
        return run_path(self.run, "ranks", f"{self.lease:08d}-{phase:06d}-{what}.json")

    def _greet(self) -> int:
        """Greet until rank 0, of this very start, answers; the number of its lease."""
        token, deadline = uuid.uuid4().hex, time.monotonic() + GREETING_S
        hello, answer = (run_path(self.run, "ranks", f"{kind}-{token}.json") for kind in ("hello", "welcome"))
        while time.monotonic() < deadline:
            if not self.store.exists(hello):  # rank 0 cleans up when it comes
                publish_json(self.store, hello, Greeting(self.rank, self.world))
            with suppress(FileNotFoundError):
                welcome = read_json(self.store, answer, Welcome)
                self.store.delete(hello)
                if welcome.world != self.world:
                    raise ConfigError(
                        f"rank {self.rank} counts world={self.world} ranks, rank 0 of run {self.run} counts "
                        f"{welcome.world}; give every rank the same world"
                    )
                return welcome.lease
            time.sleep(LOOK_EVERY_S)
        self.store.delete(hello)
        raise TimeoutError(f"rank 0 of run {self.run} did not come within {GREETING_S:.0f} s; start all ranks")

    def _welcome(self) -> None:
        """Rank 0: answer every greeting for as long as this feed lives."""
        while not self.closed.wait(GREETED_EVERY_S):
            with suppress(OSError):  # a network that fails: the next look tries again
                for path in self.store.list(run_path(self.run, "ranks")):
                    if "/hello-" in path:
                        publish_json(self.store, path.replace("/hello-", "/welcome-"), Welcome(self.lease, self.world))
