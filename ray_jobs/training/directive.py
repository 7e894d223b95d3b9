"""What may a driver ask of the workers?"""

from enum import IntEnum


class Directive(IntEnum):
    """What happens behind the step in training; a greater one outweighs a lesser one. All but GO commit first."""

    GO = 0
    CHECKPOINT = 1
    MOVE = 2  # end, to be started again on other nodes
    STOP = 3
