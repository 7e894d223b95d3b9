"""How does a configuration become a module with weights? The one place where a model is built."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.config import ModelConfig
from models.kinds.kinds import kind_of


def build(
    config: ModelConfig, vocab_size: int, seed: int | None, weights: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """Build a model of its kind on the CPU, with initial weights of `seed` (None: undrawn), or full ones by name."""
    model = kind_of(config).build(config, vocab_size, seed if weights is None else None)
    if weights is not None:
        load_weights(model, weights)
    return model


@torch.no_grad()
def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy full weights, as `checkpoint.read_full_weights` gives them, into a model."""
    for name, parameter in model.named_parameters():
        weight = weights.get(name)  # once: it may be read from a file
        there = "absent" if weight is None else tuple(weight.shape)
        if weight is None or there != tuple(parameter.shape):
            raise ValueError(
                f"{name} is {tuple(parameter.shape)} in the model and {there} in the weights; use its config"
            )
        parameter.copy_(weight)
