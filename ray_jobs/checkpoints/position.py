"""Where does a run stand?"""

from dataclasses import dataclass, field


@dataclass
class Position:
    """How far the weights are: everything before it is in them, nothing after it."""

    round: int = 0
    step_in_round: int = 0
    step: int = 0
    tokens: int = 0
    skipped: list[tuple[int, int]] = field(default_factory=list)  # (round, step in it) of steps that changed nothing
    losses: list[float] = field(default_factory=list)  # of the last steps, for the limit above which one is a spike
