"""Which published formulas say what a run needs in bytes, FLOPs and lost time?

ZeRO states (Rajbhandari 2020), DeepSpeed's own ZeRO-3 estimator, activations (counted in our model), FLOPs as PaLM
counts them, and Daly's checkpoint interval (2006). Plain numbers in and out; plan.py puts them together.
"""

import math
from typing import Literal

ADAM_BYTES, MOMENTUM_BYTES = 12.0, 8.0  # float32 weights with two moments, and with one
LAYER_BYTES = 32  # kept by a layer, a token and channel: norms 8, attention 8, SwiGLU of 8/3 width 16
LOGIT_CHUNK_BYTES = 2**30  # models.kinds.loss.GPU_LOGIT_BYTES, as logits and their slopes in bf16


def zero_bytes(
    parameters: float, ranks: int, stage: int, trained: float | None = None, state_bytes: float = ADAM_BYTES
) -> float:
    """Return bytes of weights, gradients and optimizer states on one rank: bf16 with K=12 (ZeRO paper, fig. 1).

    trained: parameters that have gradients and states; absent: all. state_bytes: of each of these, K.

    >>> [round(zero_bytes(7.5e9, 64, stage) / 1e9, 1) for stage in range(4)]
    [120.0, 31.4, 16.6, 1.9]
    """
    trained = parameters if trained is None else trained
    weights = 2 * parameters / (ranks if stage >= 3 else 1)
    gradients = 2 * trained / (ranks if stage >= 2 else 1)
    return weights + gradients + state_bytes * trained / (ranks if stage >= 1 else 1)


def zero3_estimate(
    parameters: float, largest_layer: float, ranks: int, offload: Literal["all", "optimizer", "none"]
) -> tuple[float, float]:
    """Return (CPU, GPU) bytes of ZeRO-3 on one node as DeepSpeed's estimator does: 18 bytes, fp32 gradients.

    A second opinion to `zero_bytes`, which counts 16 bytes a parameter.
    """
    live = 4 * largest_layer
    if offload == "all":
        return 1.5 * 18 * parameters, live
    if offload == "optimizer":
        return 1.5 * 16 * parameters, live + 2 * parameters / ranks
    return 1.5 * live * ranks, live + 18 * parameters / ranks


def activation_bytes(tokens: int, layers: int, width: int, vocabulary: int, recompute: bool) -> float:
    """Return bytes that a micro batch of `tokens` keeps for the backward pass, in bf16 with flash attention.

    32 bytes a token, layer and channel (a GPT: 34, Korthikanti 2022), counted and found on an H200; with recompute 2,
    and 32 for the one layer being recomputed. Logits are made in chunks: 4 bytes each, of one chunk at most.
    """
    kept = 2 * layers + LAYER_BYTES if recompute else LAYER_BYTES * layers
    return tokens * width * kept + min(4 * tokens * vocabulary, LOGIT_CHUNK_BYTES)


def model_shape(parameters: float) -> tuple[int, int]:
    """Return the customary (layers, width) of a size: N = 12 L d^2 with d = 128 L.

    >>> model_shape(6.74e9)
    (32, 4160)
    """
    layers = max(1, round((parameters / (12 * 128**2)) ** (1 / 3)))
    return layers, max(64, 64 * round(math.sqrt(parameters / (12 * layers)) / 64))


def train_flops(parameters: float, tokens: float, attention: float = 0.0, recompute: bool = False) -> float:
    """Return 6ND, with recompute 8ND; `attention` (L d T) adds 12 L d T a token (PaLM, appendix B; with recompute 16).

    L layers, d width (heads times their width), T tokens of a row; the causal half is not taken off.
    """
    return (8 if recompute else 6) * tokens * (parameters + 2 * attention)


def checkpoint_interval_s(stall_s: float, mtbf_s: float) -> float:
    """Return the interval that loses least time to stalls and repeated work (Daly 2006, eq. 37).

    >>> round(checkpoint_interval_s(stall_s=2, mtbf_s=450_000))
    1340
    """
    ratio = stall_s / (2 * mtbf_s)
    if ratio >= 1:
        return mtbf_s
    return math.sqrt(2 * stall_s * mtbf_s) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - stall_s


def goodput(interval_s: float, stall_s: float, restart_s: float, mtbf_s: float) -> float:
    """Return the share of time that trains: 1 - stall/T - (T/2 + R)/MTBF; negative if it never gets ahead.

    >>> round(goodput(300, 1, 120, 7.9 * 3600), 3)
    0.987
    """
    return 1 - stall_s / interval_s - (interval_s / 2 + restart_s) / mtbf_s
