"""How did a command that drives a cluster end?"""

from dataclasses import dataclass, field
from typing import Any

OK, FAILED, STOPPED = 0, 1, 143


@dataclass(frozen=True)
class Outcome:
    """Its exit code, and what its summary holds."""

    code: int
    summary: dict[str, Any] = field(default_factory=dict)
