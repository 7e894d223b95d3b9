"""How do Lion and Muon turn gradients into steps, and how is a step refused where DeepSpeed does not look?

AdamW is torch's own. DeepSpeed's Lion is compiled for the processor at the first start. Its Muon, at ZeRO 1 to 3, puts
the finished update in the gradient's place before the global norm is taken: clipping then shrinks all updates to a norm
of 1 together, and the norm that is told is not the gradient's. So both are written here, on the float32 tensors that a
rank owns, where every stage steps by the same code.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from models.config import OptimConfig
from models.optimizer import Optimizer

MOST_AT_ONCE = 1 << 26  # elements of a temporary: 256 MB
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan et al. 2024: steepest at zero; singular values end in 0.7 to 1.2
ROUNDS = 5
ADAMW_RMS = 0.2  # of AdamW's updates, about, to which Muon's are scaled (Liu et al. 2025, section 2.2)


class Lion(torch.optim.Optimizer):
    """EvoLved Sign Momentum (Chen et al. 2023, algorithm 2): one momentum, and steps of one size."""

    def __init__(self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float]) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Step every tensor that has a gradient."""
        for group in self.param_groups:
            for whole in group["params"]:
                if whole.grad is None:
                    continue
                whole.mul_(1 - group["lr"] * group["weight_decay"])
                state = self.state[whole]
                state["step"] += 1
                flat = (tensor.view(-1).split(MOST_AT_ONCE) for tensor in (whole, whole.grad, state["momentum"]))
                for weight, gradient, momentum in zip(*flat, strict=True):
                    weight.add_(torch.lerp(gradient, momentum, group["betas"][0]).sign_(), alpha=-group["lr"])
                    momentum.lerp_(gradient, 1 - group["betas"][1])


class Held(NamedTuple):
    """A matrix, and which stretch of it lies where in a flat tensor of this rank; none: `numel` is 0."""

    shape: tuple[int, ...]
    start: int  # first element, in the flattened matrix
    offset: int  # where it lies
    numel: int


class Muon(torch.optim.AdamW):
    """Momentum whose update is made orthogonal, for matrices; AdamW for the rest (Jordan et al. 2024).

    A matrix of which ranks own stretches is put together from all of them, each makes it orthogonal and steps its own
    stretch: the same bits on any rank. Costs an all-reduce of each matrix, and the same multiplications on every rank.
    """

    def __init__(self, groups: list[dict[str, Any]], *, dtype: torch.dtype, momentum: float, **adamw: Any) -> None:
        """dtype: that matrices are made orthogonal in. Groups with `orthogonal` hold matrices alone."""
        super().__init__(groups, **adamw)
        self.dtype, self.momentum = dtype, momentum
        self.pieces: Mapping[Tensor, Sequence[Held]] = {}  # of each tensor that is stepped, alike on all ranks
        self.is_sharded = False

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Step matrices by Muon, the rest by AdamW."""
        every = self.param_groups
        for group in every:
            if group["orthogonal"]:
                for flat in group["params"]:
                    if flat.grad is not None:
                        self._step_matrices(flat, group["lr"], group["weight_decay"])
        self.param_groups = [group for group in every if not group["orthogonal"]]
        try:
            super().step()
        finally:
            self.param_groups = every

    def _step_matrices(self, flat: Tensor, lr: float, weight_decay: float) -> None:
        state, gradient = self.state[flat], flat.grad
        assert gradient is not None
        flat.mul_(1 - lr * weight_decay)
        state["step"] = state["step"] + 1
        momentum = state["momentum"].lerp_(gradient, 1 - self.momentum)
        ahead = gradient.lerp_(momentum, self.momentum).view(-1)  # Nesterov's; the gradient is not needed any more
        for shape, start, offset, numel in self.pieces.get(flat, ()):
            whole = torch.zeros(shape, dtype=self.dtype, device=flat.device)
            whole.view(-1)[start : start + numel] = ahead[offset : offset + numel]
            if self.is_sharded:
                dist.all_reduce(whole)  # each element is one rank's, so the sum is exact
            step = orthogonal(whole).view(-1)[start : start + numel]
            size = ADAMW_RMS * max(shape) ** 0.5
            flat.view(-1)[offset : offset + numel].add_(step, alpha=-lr * size)


def orthogonal(matrix: Tensor) -> Tensor:
    """Bring all singular values of a matrix near 1 by five rounds of Newton-Schulz (Jordan et al. 2024)."""
    a, b, c = NEWTON_SCHULZ
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(ROUNDS):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T.contiguous()


class GuardedStep(torch.optim.Optimizer):
    """Clips by the global norm, keeps it, and refuses a step whose norm is not finite.

    For ZeRO-0 in float32, where DeepSpeed steps the bare optimizer and reads `overflow` and
    `_global_grad_norm`. Gradients are all-reduced by then, so every rank decides the same.
    """

    clip_norm = 0.0
    overflow = False
    _global_grad_norm = 0.0

    def step(self, closure: Any = None) -> Any:
        """Clip and step, or do nothing and set `overflow`."""
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        limit = self.clip_norm if self.clip_norm > 0 else float("inf")
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        self._global_grad_norm = float(norm)
        self.overflow = not torch.isfinite(norm).item()
        if not self.overflow:
            torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)
            super().step()


class GuardedAdamW(GuardedStep, torch.optim.AdamW):
    """AdamW, guarded."""


class GuardedLion(GuardedStep, Lion):
    """Lion, guarded."""


class GuardedMuon(GuardedStep, Muon):
    """Muon, guarded."""


def make_optimizer(
    groups: list[dict[str, Any]], optim: OptimConfig, *, bf16: bool, guarded: bool
) -> torch.optim.Optimizer:
    """Return the optimizer of a configuration, at a learning rate of 0; `bf16`: does the model compute in it?"""
    made: torch.optim.Optimizer
    adamw: dict[str, Any] = {"lr": 0.0, "betas": optim.betas, "eps": optim.eps, "fused": True}
    if optim.kind == Optimizer.LION:
        made = (GuardedLion if guarded else Lion)(groups, lr=0.0, betas=optim.betas)
    elif optim.kind == Optimizer.MUON:
        dtype = torch.bfloat16 if bf16 else torch.float32
        made = (GuardedMuon if guarded else Muon)(groups, dtype=dtype, momentum=optim.momentum, **adamw)
    else:
        made = (GuardedAdamW if guarded else torch.optim.AdamW)(groups, **adamw)
    if isinstance(made, GuardedStep):
        made.clip_norm = optim.clip_norm
    return made
