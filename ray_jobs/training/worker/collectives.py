"""How do all ranks of a worker group hear the same answer, and notice when they are not in step?

Rank 0 asks the outside world; everyone else hears it here. The price is one small broadcast each.
"""

from typing import Any

import torch
import torch.distributed as dist

from models.device import device


def agree(value: int) -> int:
    """Make rank 0's number everybody's."""
    told = torch.tensor([value], dtype=torch.int64, device=device())
    dist.broadcast(told, src=0)
    return int(told)


def hear(thing: Any) -> Any:
    """Give every rank what rank 0 holds (a small object that pickles)."""
    heard: list[Any] = [thing]
    dist.broadcast_object_list(heard, src=0)
    return heard[0]


def worst(value: int) -> int:
    """Return the largest of all ranks' numbers."""
    told = torch.tensor([value], dtype=torch.int64, device=device())
    dist.all_reduce(told, op=dist.ReduceOp.MAX)
    return int(told)


def check_in_step(**places: int) -> None:
    """Raise RuntimeError unless every rank stands at the same places, e.g. round=3, step=17."""
    mine = torch.tensor([*places.values()], dtype=torch.int64, device=device())
    bounds = torch.cat([mine, -mine])
    dist.all_reduce(bounds, op=dist.ReduceOp.MAX)
    most, least = bounds[: len(places)].tolist(), (-bounds[len(places) :]).tolist()
    apart = [f"{name} {low} to {high}" for name, low, high in zip(places, least, most, strict=True) if low != high]
    if apart:
        raise RuntimeError(f"the workers are not in step: {', '.join(apart)}; this is a defect, nothing was trained")
