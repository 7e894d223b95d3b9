"""How many tokens does each position predict? The next one, and with multi-token prediction those behind it too.

Multi-token prediction (Gloeckle et al. 2024), settings alone; `models/kinds/multi_token` builds and trains.
"""

from pydantic import Field, model_validator

from cluster.units import Settings


class MultiTokenConfig(Settings):
    """Heads of one layer on a shared trunk, each of which predicts a token further ahead."""

    tokens: int = Field(4, ge=2, le=32, description="Tokens that each position predicts, the next one included.")
    weights: float | tuple[float, ...] = Field(
        1.0, description="Weight of the losses of the further tokens: one number for all, or one for each."
    )

    @model_validator(mode="after")
    def _weighs_each(self) -> "MultiTokenConfig":
        if len(self.shares) != self.tokens - 1:
            raise ValueError(
                f"weights={list(self.shares)} are {len(self.shares)} for tokens={self.tokens}, which has "
                f"{self.tokens - 1} beyond the next one; give one number, or one for each"
            )
        if any(not 0 < share <= 100 for share in self.shares):
            raise ValueError(f"weights={self.weights} must lie above 0 and be at most 100; use 1, or lower tokens")
        return self

    def check_beside(self, kind: str, *, lora: bool, freeze: bool) -> None:
        """Raise ValueError where the model is of a kind without heads, or trains only a part of its weights."""
        if kind != "decoder":
            raise ValueError(f"kind={kind} predicts no further tokens; leave mtp out, or use kind=decoder")
        if lora or freeze:
            raise ValueError(
                f"{'lora' if lora else 'freeze'} stands beside mtp of tokens={self.tokens}, whose heads train with all "
                "weights; set one of them to null"
            )

    @property
    def shares(self) -> tuple[float, ...]:
        """Weight of the loss of each token beyond the next one."""
        return (self.weights,) * (self.tokens - 1) if isinstance(self.weights, float | int) else self.weights
