"""What is a sweep asked: how many trials of how many tokens, over which space, judged and stopped how?

Every trial starts at the same weights, trains on the same rows and is compared with the others at equal tokens. The
marks at which it is judged are part of the question: geometric for ASHA, so that a rung costs as much as all before
it, and even where trials are compared along their way.
"""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from cluster.planner.plan import Count
from cluster.units import Settings, Share
from tune.space import Space, read_space

STARTS = "scratch, latest (of the run `name`), champion, or RUN/STEP"


class SweepConfig(Settings):
    """A search over settings in which every trial trains on the same recorded rounds."""

    trials: int = Field(12, ge=1, le=100_000, description="trials at most; a grid may have fewer")
    tokens: Count = Field(1_000_000, description="tokens on which a trial trains at most: 400k, 1M or a number")
    start: str = Field("scratch", min_length=1, description=f"the weights every trial starts from: {STARTS}")
    search: Literal["grid", "random", "tpe"] | None = Field(
        None, description="how points are chosen; absent: grid if every dimension is a list, else random"
    )
    scheduler: Literal["asha", "median", "none", "pbt"] = Field(
        "asha", description="who is stopped early: ASHA, the median rule, nobody; pbt: population-based training"
    )
    space: dict[str, Any] = Field(
        default_factory=dict, description="dotted key -> list of values, or {distribution, min, max}"
    )
    lr_rule: Literal["free", "sqrt"] = Field(
        "free", description="sqrt: optim.lr holds at the configured batch and grows with the root of the batch"
    )
    marks: int = Field(3, ge=1, le=64, description="times a trial is judged on held-out text, the last at its end")
    reduction: int = Field(3, ge=2, le=16, description="ASHA: one in so many goes on beyond a mark")
    average: Share = Field(0.2, gt=0, lt=1, description="share of the trained tokens the judged weights average over")
    old_share: Share = Field(0.5, description="weight of old slices in the score, where a start has old ones")
    workers: int = Field(1, ge=1, le=4096, description="workers of one trial; the result does not depend on them")
    concurrent: int | None = Field(None, ge=1, description="trials at a time; absent: as many as the cluster holds")

    @field_validator("scheduler", mode="before")
    @classmethod
    def _is_a_scheduler(cls, value: object) -> object:
        if value in ("grid", "random", "tpe", "optuna"):
            meant = "tpe" if value == "optuna" else value
            raise ValueError(f"{value} says how points are chosen; set sweep.search={meant} and sweep.scheduler=none")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> "SweepConfig":
        dimensions = self.dimensions
        if self.search == "grid" and not dimensions.is_finite:
            endless = ", ".join(d.path for d in dimensions.dimensions if d.values is None)
            raise ValueError(
                f"sweep.search=grid needs a list of values for {endless}; use sweep.search=random for distributions"
            )
        if self.scheduler == "pbt" and self.trials < 4:
            raise ValueError(f"sweep.trials={self.trials} is too small a population for pbt; use 4 or more")
        if self.scheduler == "pbt" and self.marks < 2:
            raise ValueError(f"sweep.marks={self.marks} leaves pbt no moment to exchange weights; use 2 or more")
        return self

    @property
    def dimensions(self) -> Space:
        """The space, read; ValueError says what is wrong with it."""
        return read_space(self.space)

    @property
    def way(self) -> str:
        """How points are chosen."""
        return self.search or ("grid" if self.dimensions.is_finite and self.scheduler != "pbt" else "random")

    def mark_tokens(self, row_tokens: int) -> tuple[int, ...]:
        """Tokens at which a trial is judged, whole rows, ascending; the last is `tokens` or a little less.

        >>> SweepConfig(tokens=1600, reduction=4).mark_tokens(10)
        (100, 400, 1600)
        >>> SweepConfig(tokens=1600, marks=4, scheduler="median").mark_tokens(10)
        (400, 800, 1200, 1600)
        """
        even = self.scheduler in ("median", "pbt")
        parts = self.marks if even else self.reduction ** (self.marks - 1)
        first = self.tokens // parts // row_tokens * row_tokens
        if first < 1:
            raise ValueError(
                f"sweep.tokens={self.tokens} leaves no row of {row_tokens} tokens before the first of "
                f"{self.marks} marks; use sweep.tokens={parts * row_tokens} or more, or fewer marks"
            )
        if even:
            return tuple(first * n for n in range(1, self.marks + 1))
        return tuple(first * self.reduction**n for n in range(self.marks))
