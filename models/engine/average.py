"""Which weights stand for a run whose learning rate was never brought down?

The running average of the last part of the way: it has about the loss that annealing would give, at no token's cost
(Sanyal et al. 2023, LAWA; Li et al. 2025, PMA), so runs at a constant and at a decayed rate can be compared at any
moment. The window grows with the way: polynomial-decay averaging (Shamir and Zhang 2013), counted in tokens so that
the batch size changes nothing. Price: a third float32 copy of the weights, and one pass over them a step.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from models.engine import zero
from models.engine.checkpoint import Snapshot, metadata, read_owned
from models.engine.engine import Engine
from models.engine.parts import Part


class WeightAverage:
    """This rank's part of the average over the last `share` of the tokens trained, roughly."""

    def __init__(self, engine: Engine, share: float) -> None:
        """Start at the weights as they are; share in (0, 1)."""
        self.engine, self.share = engine, share
        self.owned = zero.fragments(engine.deepspeed)
        self.mean = [part.weight.clone() for part in self.owned]

    def update(self, step_tokens: int, tokens: int) -> None:
        """Take in the weights after a step of `step_tokens`, the last of `tokens` in all.

        A weight of 1/share * step_tokens / tokens, at most 1: the influence of a token at t grows as t^(1/share - 1).
        """
        torch._foreach_lerp_(self.mean, [part.weight for part in self.owned], self._pull(step_tokens, tokens))

    def _pull(self, step_tokens: int, tokens: int) -> float:
        return min(1.0, step_tokens / (self.share * tokens))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While inside, the engine computes with the averaged weights; all ranks enter and leave together."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def snapshot(self) -> Snapshot:
        """A file's content, readable as a checkpoint's weights; what ZeRO-0 replicates, rank 0 keeps."""
        kept = [] if self.engine.deepspeed.zero_optimization_stage() == 0 and dist.get_rank() else self.owned
        tensors = {f"{part.name}|weight": mean for part, mean in zip(kept, self.mean, strict=False)}
        return Snapshot(tensors, metadata(self.engine, kept))

    def restart(self) -> None:
        """Begin anew at the weights as they are."""
        for part, mean in zip(self.owned, self.mean, strict=True):
            mean.copy_(part.weight)

    def restore(self, paths: Sequence[Path | Part]) -> bool:
        """Take the average out of the files of all ranks that wrote it; False where they are a checkpoint without."""
        return read_owned(self.owned, self.mean, paths)

    @torch.no_grad()
    def _swap(self) -> None:
        for part, mean in zip(self.owned, self.mean, strict=True):
            held: Tensor = part.weight.clone()
            part.weight.copy_(mean)
            mean.copy_(held)
        zero.refresh_weights(self.engine.deepspeed)
