"""What can `headrace mix` be asked?"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple


class Action(StrEnum):
    """What is done with the mixture of a run."""

    SHOW = "show"
    SET = "set"
    ADD = "add"
    REMOVE = "remove"
    PAUSE = "pause"
    RESUME = "resume"
    SCHEDULE = "schedule"
    PLAN = "plan"


class Asking(NamedTuple):
    """One command: the action, its words (sources, shares, stages), and its options."""

    action: Action
    words: Sequence[str] = ()
    floor: float | None = None
    replay_share: float | None = None
    from_round: int = 0
    max_repeats: Sequence[str] = ()
