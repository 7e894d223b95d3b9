"""How noisy is the gradient, and which batch does that ask for?

The simple noise scale of McCandlish et al. 2018 ("An empirical model of large-batch training", appendix A.1):
B = tr(Sigma) / |G|^2 in tokens, from gradients of small batches and of their union. Below it, a larger batch saves
steps almost for nothing; far above, it is wasted. One process, full weights, no DeepSpeed. It is a prior: what a larger
batch costs is measured by branching (Merrill et al. 2025 found the noise scale unreliable as a proxy).
"""

from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

import torch

from cluster.rows import Rows
from models.config import ModelConfig
from models.device import device, micro_batches
from models.kinds.building import build
from models.kinds.kinds import kind_of


class NoiseScale(NamedTuple):
    """What was measured, all unbiased: |G|^2 may be negative where the noise is far larger than the gradient."""

    tokens: float  # B_simple; inf where |G|^2 is not above 0
    gradient_square: float  # |G|^2
    variance: float  # tr(Sigma), of the gradient of one token


def gradient_noise(
    config: ModelConfig,
    vocab_size: int,
    seed: int,
    weights: dict[str, torch.Tensor] | None,
    batches: Iterable[Rows],
) -> NoiseScale:
    """Measure over small batches of about equally many labels; at least two, better thirty."""
    kind, model = kind_of(config), build(config, vocab_size, seed, weights)
    model.to(device())
    parameters = list(model.parameters())
    squares, counts = [], []
    total = [torch.zeros_like(parameter) for parameter in parameters]
    for batch in chain.from_iterable(micro_batches(kind.arrange(rows), len(rows.inputs)) for rows in batches):
        count = int((batch.labels != -100).sum())
        model.zero_grad(set_to_none=True)
        (kind.loss(model, batch) / count).backward()
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        squares.append(sum(float(g.pow(2).sum()) for g in gradients))
        counts.append(count)
        torch._foreach_add_(total, [g * count for g in gradients])
    whole = sum(float((g / sum(counts)).pow(2).sum()) for g in total)
    return noise_scale(squares, counts, whole)


def noise_scale(squares: list[float], counts: list[int], whole: float) -> NoiseScale:
    """Combine |gradient|^2 of small batches, their labels, and |gradient|^2 of all of them together.

    >>> noise_scale([5.0, 5.0], [10, 10], 3.0)
    NoiseScale(tokens=40.0, gradient_square=1.0, variance=40.0)
    """
    if len(squares) < 2:
        raise ValueError(f"{len(squares)} batch says nothing about noise; give two or more")
    small, large = len(counts) / sum(1 / count for count in counts), float(sum(counts))
    mean = sum(squares) / len(squares)
    square = (large * whole - small * mean) / (large - small)
    variance = (mean - whole) / (1 / small - 1 / large)
    return NoiseScale(variance / square if square > 0 else float("inf"), square, variance)
