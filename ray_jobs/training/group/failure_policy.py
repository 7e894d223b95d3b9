"""Does a restart still help, or is it time to stop?

Pure: events in, a reason to stop out. Ray Train starts a worker group again for as long as we let it; that is right
after an accident and wrong when the same fault comes back before a single step, group after group trains nothing, or
all of them end at the same place.
"""

from dataclasses import dataclass, field

from cluster.storage.retry import NETWORK_SECONDS, is_transient
from ray_jobs.training.events import Committed, Event, Fault, Started, StepDone

FRUITLESS_STARTS = 6  # worker groups in a row that trained no step
STUCK_STARTS = 12  # worker groups in a row that got no further than those before, nor committed anything new


@dataclass
class GroupHealth:
    """What the faults so far add up to."""

    faults: dict[int, str] = field(default_factory=dict)  # rank -> its last fault since a step was trained
    starts: int = 0  # since a step was trained
    stuck: int = 0  # starts since a step was trained, or committed, that none had reached before
    trained: int = -1  # the furthest step
    committed: int = -1  # the furthest committed one
    last_fault: str = ""
    network_since: float | None = None  # when the first fault of the network since a step was told

    def update(self, event: Event) -> str | None:
        """Take in an event; a sentence when going on is of no use.

        >>> health, again = GroupHealth(), Fault(rank=0, text="ValueError: no")
        >>> health.update(again), health.update(again)
        (None, 'ValueError: no')
        """
        match event:
            case StepDone():
                self.faults, self.starts, self.network_since = {}, 0, None
                if event.step > self.trained and not event.branch:
                    self.trained, self.stuck = event.step, 0
            case Committed(branch=False) if event.step > self.committed:
                self.committed, self.stuck = event.step, 0
            case Fault():
                return self._fault(event)
            case Started():
                return self._start()
        return None

    def _fault(self, event: Fault) -> str | None:
        again = self.faults.get(event.rank) == event.text
        self.faults[event.rank] = self.last_fault = event.text
        if event.is_final:
            return event.text
        if is_transient(event.text):  # it gets better by itself: time counts, not how often
            self.network_since = event.time if self.network_since is None else self.network_since
            if event.time - self.network_since < NETWORK_SECONDS:
                self.starts = 0
                return None
        return event.text if again else None

    def _start(self) -> str | None:
        self.starts, self.stuck = self.starts + 1, self.stuck + 1
        if self.stuck > STUCK_STARTS:
            why = self.last_fault or "see the run's time line for faults"
            return f"{STUCK_STARTS} worker groups in a row came no further than step {self.trained}; {why}"
        if self.starts > FRUITLESS_STARTS:
            return f"{FRUITLESS_STARTS} worker groups in a row trained no step; see the run's time line for faults"
        return None
