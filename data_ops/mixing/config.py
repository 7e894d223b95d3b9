"""What can be said of a mixture?"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from cluster.planner.config import parse_count
from cluster.units import Settings, Share

Part = Annotated[float, Field(ge=0, le=1e9)]
Shares = Annotated[dict[str, Part], Field(min_length=1)]
Times = Annotated[int, Field(ge=0, le=10_000)]
Tokens = Annotated[int, BeforeValidator(parse_count), Field(ge=0)]


class Stage(Settings):
    """The shares once so many tokens are trained."""

    at: Tokens = Field(description="Trained tokens, fresh and replayed.")
    shares: Shares = Field(description="source -> its part of the fresh tokens; the parts need not add up to 1.")


class MixtureConfig(Settings):
    """From which source the fresh text of a round comes; `headrace mix` changes it while a run goes on."""

    shares: Shares | Literal["proportional", "by_time"] | None = Field(
        None,
        description="source -> part of the fresh tokens; proportional: to what waits; by_time: by event time; "
        "absent: in the order of the log",
    )
    schedule: tuple[Stage, ...] = Field(
        (), description="shares that change with the trained tokens, in straight lines: a list of {at, shares}"
    )
    floor: Share = Field(0.0, description="share that every source has at least")
    paused: tuple[str, ...] = Field((), description="sources whose documents wait")
    removed: tuple[str, ...] = Field(
        (), description="sources that are trained no more: their documents are shed, and not replayed"
    )
    replay_share: Share | None = Field(None, lt=1, description="instead of round.replay_share; absent: as it is there")
    max_repeats: Annotated[dict[str, Times], Field(min_length=1)] | Times | None = Field(
        None, description="times that a document may be replayed, or source -> times; absent: any number"
    )

    drift: Literal["log", "pause"] | None = Field(
        None, description="when a source's text has changed: say so, or also pause the source; absent: do not look"
    )

    @model_validator(mode="after")
    def _is_one_thing(self) -> "MixtureConfig":
        if self.schedule and self.shares is not None:
            raise ValueError("shares and schedule both say what the shares are; keep one of them")
        at = [stage.at for stage in self.schedule]
        if at != sorted(set(at)):
            raise ValueError(f"schedule has its stages at {at} tokens; put them in order, each at another number")
        for shares in [self.shares, *(stage.shares for stage in self.schedule)]:
            if isinstance(shares, dict) and not sum(shares.values()) > 0:
                raise ValueError(f"the shares {shares} add up to nothing; give one source a part above 0")
        if both := sorted({*self.paused} & {*self.removed}):
            raise ValueError(f"{', '.join(both)} is paused and removed; keep one of them")
        if self.floor and self.floor * len(self.labels) > 1:
            raise ValueError(f"floor={self.floor} for {len(self.labels)} sources is more than there is; lower it")
        return self

    @property
    def labels(self) -> set[str]:
        """The sources that have a share, now or later; none where the mixture does not name them."""
        stated = [self.shares, *(stage.shares for stage in self.schedule)]
        return {label for shares in stated if isinstance(shares, dict) for label in shares}

    @property
    def named(self) -> set[str]:
        """Every source that is named anywhere, and so has to exist."""
        limited = set(self.max_repeats) if isinstance(self.max_repeats, dict) else set()
        return {*self.labels, *self.paused, *self.removed, *limited}

    @property
    def kind(self) -> Literal["shares", "proportional", "by_time", "log"]:
        """What decides which document comes next."""
        if self.schedule or isinstance(self.shares, dict):
            return "shares"
        return self.shares or "log"
