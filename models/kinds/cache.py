"""What does a decoder keep of the positions it has read, and how do those that follow read it?

Several texts go on at once as the rows of one batch, at lengths of their own. Each row reads its own keys and values in
a call of its own, whose shape is the one it would have if it were alone; so other rows change none of its bits here.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models.config import LayerKind, ModelConfig
from models.kinds.attention import AttentionLayout, attend
from models.kinds.positions import rotations

# Shape suffixes: B rows, L positions, H heads, K key/value heads, G heads of each, E head width, S seen.


class Cache:
    """Keys and values [B, positions, K, E] of each layer for the positions that were read."""

    def __init__(self, rows: int, most: int, config: ModelConfig, like: Tensor) -> None:
        shape = (config.layers, 2, rows, most, config.kv, config.head)
        self.kept, self.length = torch.empty(shape, dtype=like.dtype, device=like.device), 0

    def extend(self, layer: int, k_BLKE: Tensor, v_BLKE: Tensor) -> tuple[Tensor, Tensor]:
        """Keep those of new positions; return all, [B, S, K, E] each."""
        end = self.length + k_BLKE.shape[1]
        for which, new in enumerate((k_BLKE, v_BLKE)):
            self.kept[layer, which][:, self.length : end] = new
        return self.kept[layer, 0][:, :end], self.kept[layer, 1][:, :end]

    def attend(
        self, layer: int, qkv: tuple[Tensor, Tensor, Tensor], layout: AttentionLayout, kind: LayerKind
    ) -> Tensor:
        """Keep new positions and let them read all they see, [B, L, H * E]."""
        return attend(qkv[0], *self.extend(layer, *qkv[1:]), layout, kind)


class RowCaches:
    """Caches of one row each, which are the first rows of a batch; the rows behind them are padding."""

    def __init__(self, caches: Sequence[Cache], config: ModelConfig) -> None:
        self.caches, self.window = caches, config.window

    def layout(self, rows: int, config: ModelConfig, like: Tensor) -> AttentionLayout:
        """Lay out one new position of each row, behind what its cache holds."""
        lengths = [cache.length for cache in self.caches] + [0] * (rows - len(self.caches))
        return AttentionLayout(*rotations(torch.tensor(lengths)[:, None], config, like))

    def attend(self, layer: int, qkv: tuple[Tensor, Tensor, Tensor], _: AttentionLayout, kind: LayerKind) -> Tensor:
        """Keep one new position of each row and let it read all it sees, [B, 1, H * E]; padding reads nothing."""
        q_B1HE, k_B1KE, v_B1KE = qkv
        read_B1D = torch.zeros_like(q_B1HE).flatten(2)
        for row, cache in enumerate(self.caches):
            kept = cache.extend(layer, k_B1KE[row : row + 1], v_B1KE[row : row + 1])
            first = max(0, cache.length + 1 - self.window) if kind == "window" and self.window is not None else 0
            k_KSE, v_KSE = (each[0, first:].transpose(0, 1) for each in kept)
            q_KGE = q_B1HE[row].view(len(k_KSE), -1, q_B1HE.shape[-1])
            read_B1D[row] = F.scaled_dot_product_attention(q_KGE[None], k_KSE[None], v_KSE[None]).reshape(1, -1)
        return read_B1D

    def step(self) -> None:
        """Count the position that every layer has read."""
        for cache in self.caches:
            cache.length += 1
