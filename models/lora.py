"""How is a large model trained with few parameters? By two small matrices beside some of its large ones.

LoRA (Hu et al. 2021), settings alone; `models/kinds/partial.py` chooses, `models/engine/adapters.py` builds.
"""

from pydantic import Field

from cluster.units import Settings, Share


class LoraConfig(Settings):
    """Two small matrices beside each chosen one, which stays as it is."""

    rank: int = Field(16, ge=1, le=4096, description="Rows of the first small matrix, columns of the second.")
    alpha: float = Field(32.0, gt=0, le=1e6, description="Their product is added alpha over rank times.")
    targets: tuple[str, ...] | None = Field(
        None, min_length=1, description="Matrices to stand beside, as q_proj or *.mlp.*; absent: all of the layers."
    )
    dropout: Share = Field(0.0, lt=1, description="Share of the inputs of the first matrix that a step leaves out.")

    @property
    def scale(self) -> float:
        """By what the product of the two is multiplied."""
        return self.alpha / self.rank
