"""What can be configured of a round?"""

from typing import Literal

from pydantic import Field

from cluster.units import Duration, Settings, Share


class RoundConfig(Settings):
    """The unit of training: how much text, and how much of it old."""

    tokens: int = Field(262_144, ge=1, description="positions trained in a round, fresh and replayed")
    replay_share: Share = Field(0.25, lt=1, description="fraction of a round's positions that is replayed")
    starved: Literal["stop", "replay", "wait"] = Field(
        "stop", description="when nothing fresh is left: stop, train on replay alone, or wait"
    )
    max_seconds: Duration = Field(60.0, gt=0, description="with --follow, a round closes after this long")
    max_backlog_tokens: int | None = Field(
        None, ge=1, description="pending positions beyond which fresh text is sampled and the rest shed"
    )

    @property
    def fresh_tokens(self) -> int:
        """Positions of fresh text in a full round."""
        return max(1, int(self.tokens * (1 - self.replay_share)))
