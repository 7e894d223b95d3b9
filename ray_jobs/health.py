"""Does a restart still help, or is it time to stop?

Pure: events in, a reason to stop out. Ray Train starts a worker group again for as long as we let it; that is right
after an accident and wrong when the same fault comes back before a single step, or group after group trains nothing.
"""

from dataclasses import dataclass, field
from typing import Any

FRUITLESS_STARTS = 6  # worker groups in a row that trained no step


@dataclass
class Health:
    """What the faults so far add up to."""

    faults: dict[int, str] = field(default_factory=dict)  # rank -> its last fault since a step was trained
    starts: int = 0

    def update(self, event: dict[str, Any]) -> str | None:
        """Take in an event; a sentence when going on is of no use.

        >>> health = Health()
        >>> fault = {"event": "fault", "rank": 0, "text": "ValueError: no"}
        >>> health.update(fault), health.update(fault)
        (None, 'ValueError: no')
        """
        if event["event"] == "step":
            self.faults, self.starts = {}, 0
        elif event["event"] == "fault":
            again = self.faults.get(event["rank"]) == event["text"]
            self.faults[event["rank"]] = event["text"]
            return str(event["text"]) if again else None
        elif event["event"] == "started":
            self.starts += 1
            if self.starts > FRUITLESS_STARTS:
                return f"{FRUITLESS_STARTS} worker groups in a row trained no step; see the run's time line for faults"
        return None
