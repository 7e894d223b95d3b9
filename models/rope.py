"""How do rotary positions reach beyond the context that a model was first trained at?

Settings alone, with the names of Hugging Face's `rope_scaling` behind them; `models/kinds/positions.py` computes.
"""

from typing import Literal

from pydantic import Field, model_validator

from cluster.units import Settings


class RopeConfig(Settings):
    """How rotary frequencies are scaled for a longer context."""

    kind: Literal["linear", "llama3", "yarn"] = Field("llama3", description="The rule by which they are scaled.")
    factor: float = Field(8.0, ge=1, le=10_000, description="How many times longer the context became.")
    original_tokens: int | None = Field(None, ge=8, description="Context before; llama3 and yarn need it.")
    low_freq_factor: float = Field(1.0, gt=0, description="llama3: longer waves than the context over it are scaled.")
    high_freq_factor: float = Field(4.0, gt=0, description="llama3: shorter waves than the context over it are not.")
    beta_fast: float = Field(32.0, gt=0, description="yarn: pairs that turn more often in the context stay.")
    beta_slow: float = Field(1.0, gt=0, description="yarn: pairs that turn less often are scaled whole.")
    attention_factor: float | None = Field(None, gt=0, description="yarn: scales cos and sin; absent: by the factor.")

    @model_validator(mode="after")
    def _knows_the_context(self) -> "RopeConfig":
        if self.kind != "linear" and self.original_tokens is None:
            raise ValueError(f"kind={self.kind} needs the context before scaling; set original_tokens")
        if self.kind == "llama3" and self.high_freq_factor <= self.low_freq_factor:
            raise ValueError(
                f"high_freq_factor={self.high_freq_factor:g} is not above low_freq_factor={self.low_freq_factor:g}; "
                "raise it"
            )
        return self
