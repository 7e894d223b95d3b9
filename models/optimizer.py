"""Which optimizers are there, and what fits each where nothing is said? Settings alone; `models/engine` steps them."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Optimizer(StrEnum):
    """What turns a gradient into a step."""

    ADAMW = "adamw"
    LION = "lion"
    MUON = "muon"


#: Lion's steps have the size of the learning rate whatever the gradient is, so it wants a third of AdamW's and thrice
#: the decay (Chen et al. 2023, section 5: 3 to 10 times); their product, which decays weights, is AdamW's. Betas are
#: theirs for language models. Muon's steps have the size of AdamW's, whose rate and decay then fit (Liu et al. 2025).
FITTING: Mapping[str, Mapping[str, object]] = {
    Optimizer.LION: {"lr": 1e-4, "betas": (0.95, 0.98), "weight_decay": 0.3},
}
#: Keys that not every optimizer reads: their usual value, and the optimizers that read them.
ONLY_OF = {"momentum": (0.95, (Optimizer.MUON,)), "eps": (1e-8, (Optimizer.ADAMW, Optimizer.MUON))}


def fitting(values: Any) -> Any:
    """Complete the block `optim` as it was written; ValueError for a key that its optimizer does not read."""
    if not isinstance(values, dict):
        return values
    kind = values.get("kind", Optimizer.ADAMW)
    for key, (usual, kinds) in ONLY_OF.items():
        if kind in set(Optimizer) - set(kinds) and values.get(key, usual) != usual:
            raise ValueError(f"{key}={values[key]} is not read by kind={kind}; leave it out, or use {kinds[0]}")
    return {**FITTING.get(kind, {}), **values}
