"""How does the learning rate go up and down? Settings alone; `models/engine/optim.py` computes it."""

from typing import Literal

from pydantic import Field, model_validator

from cluster.units import Settings, Share

DEFAULT_HORIZON = 100_000_000  # what warm-up is a share of where a schedule has no end


class ScheduleConfig(Settings):
    """The learning rate's course over tokens."""

    kind: Literal["constant", "cosine", "wsd", "infinite"] = Field("infinite", description="Shape of the course.")
    tokens: int | None = Field(None, ge=1, description="Horizon in tokens; cosine and wsd need it.")
    warmup: Share = Field(0.01, description="Share of the horizon (absent: 100 M tokens) that warms up.")
    warmup_tokens: int | None = Field(None, ge=0, description="Tokens of warm-up; overrides warmup.")
    decay: Share = Field(0.1, description="Share of the horizon (wsd) or of a round (infinite) that decays.")
    floor: Share = Field(0.0, description="Where decay ends, as a share of the peak learning rate.")

    @model_validator(mode="after")
    def _has_an_end(self) -> "ScheduleConfig":
        if self.kind in ("cosine", "wsd") and self.tokens is None:
            raise ValueError(f"kind={self.kind} needs an end; set tokens, or use kind=infinite for a stream")
        if self.tokens and self.warming_tokens > self.tokens:
            raise ValueError(f"warmup_tokens={self.warming_tokens} is beyond tokens={self.tokens}; lower it")
        if self.kind == "wsd" and self.warmup + self.decay > 1 and self.warmup_tokens is None:
            raise ValueError(f"warmup={self.warmup:g} and decay={self.decay:g} overlap; lower one")
        return self

    @property
    def warming_tokens(self) -> int:
        """Tokens of linear warm-up."""
        if self.warmup_tokens is not None:
            return self.warmup_tokens
        return int(self.warmup * (self.tokens or DEFAULT_HORIZON))
