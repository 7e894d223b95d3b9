"""Where does a token stand, and how are queries and keys turned by it?

Rotary positions (RoFormer) in Hugging Face's rotate-half convention. They restart at every document of a packed row.
Frequencies can be scaled for a longer context: linearly, by Llama 3's rule or by YaRN (Peng et al. 2023), each as
transformers compute it.
"""

import math

import torch
from torch import Tensor

from models.config import ModelConfig
from models.device import compiled, moved
from models.rope import RopeConfig

# Shape suffixes: B rows, L positions, H heads, E head width.


def document_positions(segments_BL: Tensor) -> Tensor:
    """Return the position of each token within its document.

    >>> document_positions(torch.tensor([[0, 0, 0, 1, 1]]))
    tensor([[0, 1, 2, 0, 1]])
    """
    index_L = torch.arange(segments_BL.shape[1], device=segments_BL.device)
    starts_BL = torch.zeros_like(segments_BL, dtype=torch.long)
    starts_BL[:, 1:] = torch.where(segments_BL[:, 1:] != segments_BL[:, :-1], index_L[1:], 0)
    return index_L - starts_BL.cummax(dim=1).values


def rotations(positions_BL: Tensor, config: ModelConfig, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return cos and sin [B, L, 1, E] of the rotary angles, computed in float32."""
    exponents = torch.arange(0, config.head, 2, dtype=torch.float32, device=like.device) / config.head
    frequencies = 1.0 / (config.rope_theta**exponents)
    scale = 1.0
    if config.rope is not None:
        frequencies = scaled(frequencies, config.rope, config.rope_theta)
        scale = amplitude(config.rope)
    angles = moved(positions_BL.float(), like.device)[:, :, None, None] * frequencies
    angles = torch.cat((angles, angles), dim=-1)
    cos, sin = angles.cos(), angles.sin()
    if scale != 1.0:
        cos, sin = cos * scale, sin * scale
    return cos.to(like.dtype), sin.to(like.dtype)


def scaled(frequencies: Tensor, rope: RopeConfig, theta: float) -> Tensor:
    """Return the frequencies of a longer context."""
    if rope.kind == "linear":
        return frequencies / rope.factor
    context = float(rope.original_tokens or 0)
    if rope.kind == "llama3":
        waves = 2 * math.pi / frequencies
        span = rope.high_freq_factor - rope.low_freq_factor
        smooth = ((context / waves - rope.low_freq_factor) / span).clamp(0, 1)
        return (1 - smooth) * frequencies / rope.factor + smooth * frequencies
    pairs = len(frequencies)

    def turning(times: float) -> float:
        """The pair that turns so many times within the context."""
        return 2 * pairs * math.log(context / (times * 2 * math.pi)) / (2 * math.log(theta))

    low, high = max(math.floor(turning(rope.beta_fast)), 0), min(math.ceil(turning(rope.beta_slow)), 2 * pairs - 1)
    index = torch.arange(pairs, dtype=torch.float32, device=frequencies.device)
    ramp = ((index - low) / max(high - low, 1e-3)).clamp(0, 1)
    return frequencies / rope.factor * ramp + frequencies * (1 - ramp)


def amplitude(rope: RopeConfig) -> float:
    """Return what cos and sin are multiplied by: YaRN's attention factor, else 1."""
    if rope.kind != "yarn":
        return 1.0
    return rope.attention_factor or 0.1 * math.log(rope.factor) + 1.0


@compiled
def rotate(x_BLHE: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary positions, pairing coordinate i with i + E/2 (Hugging Face's Llama layout)."""
    left, right = x_BLHE.chunk(2, dim=-1)
    return x_BLHE * cos + torch.cat((-right, left), dim=-1) * sin
