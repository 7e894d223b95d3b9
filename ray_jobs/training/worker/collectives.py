"""How do all ranks of a worker group come to the same answer, and notice when they are not in step?

Rank 0 asks the outside world; the other ranks get the answer here. The price is one small broadcast each. Objects
travel as JSON of a stated type, never as a pickle: a port that somebody else reaches runs nobody's code.
"""

from typing import TypeVar

import msgspec
import torch
import torch.distributed as dist

from models.device import device

T = TypeVar("T")


def broadcast_int(value: int) -> int:
    """Return rank 0's number on every rank."""
    number = torch.tensor([value], dtype=torch.int64, device=device())
    dist.broadcast(number, src=0)
    return int(number)


def broadcast_object(value: T | None, kind: type[T]) -> T:
    """Return what rank 0 holds on every rank; the others give None. `kind`: what msgspec can write as JSON."""
    data = bytearray(msgspec.json.encode(value)) if dist.get_rank() == 0 else bytearray()
    data = data.ljust(broadcast_int(len(data)))
    sent = torch.frombuffer(data, dtype=torch.uint8).to(device())
    dist.broadcast(sent, src=0)
    return msgspec.json.decode(sent.cpu().numpy().tobytes(), type=kind)


def gather_objects(value: T, kind: type[T]) -> list[T]:
    """Return what every rank holds, in rank order, on every rank."""
    data = bytearray(msgspec.json.encode(value))
    data = data.ljust(all_reduce_max(len(data)))  # with spaces, which JSON ignores
    mine = torch.frombuffer(data, dtype=torch.uint8).to(device())
    parts = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, mine)
    return [msgspec.json.decode(part.cpu().numpy().tobytes(), type=kind) for part in parts]


def all_reduce_max(value: int) -> int:
    """Return the largest of all ranks' numbers."""
    number = torch.tensor([value], dtype=torch.int64, device=device())
    dist.all_reduce(number, op=dist.ReduceOp.MAX)
    return int(number)


def check_in_step(**places: int) -> None:
    """Raise RuntimeError unless every rank stands at the same places, e.g. round=3, step=17."""
    mine = torch.tensor([*places.values()], dtype=torch.int64, device=device())
    bounds = torch.cat([mine, -mine])
    dist.all_reduce(bounds, op=dist.ReduceOp.MAX)
    most, least = bounds[: len(places)].tolist(), (-bounds[len(places) :]).tolist()
    apart = [f"{name} {low} to {high}" for name, low, high in zip(places, least, most, strict=True) if low != high]
    if apart:
        raise RuntimeError(f"the workers are not in step: {', '.join(apart)}; this is a defect, nothing was trained")
