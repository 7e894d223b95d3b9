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

    def __init__(self, rows: int, most: int, config: ModelConfig, like: Tensor, layers: int | None = None) -> None:
        """most: positions; layers: of which keys and values are kept, absent: those of the model."""
        shape = (config.layers if layers is None else layers, 2, rows, most, config.kv, config.head)
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


class BlockCache:
    """A cache of one row whose next positions each read in a call of their own.

    So a position has the bits that it would have at the same place if nothing stood behind it, and positions behind it
    may be taken back.
    """

    def __init__(self, cache: Cache, config: ModelConfig) -> None:
        self.cache, self.window = cache, config.window

    def attend(self, layer: int, qkv: tuple[Tensor, Tensor, Tensor], _: AttentionLayout, kind: LayerKind) -> Tensor:
        """Keep new positions of the row and let each read all it sees, [1, L, H * E]."""
        q_1LHE, k_1LKE, v_1LKE = qkv
        k_1SKE, v_1SKE = self.cache.extend(layer, k_1LKE, v_1LKE)
        window, read_1LD = self.window if kind == "window" else None, torch.empty_like(q_1LHE).flatten(2)
        for at in range(q_1LHE.shape[1]):
            end = self.cache.length + at + 1
            read_1LD[0, at] = read_alone(q_1LHE[0, at : at + 1], (k_1SKE[:, :end], v_1SKE[:, :end]), window)
        return read_1LD


def read_alone(q_1HE: Tensor, kept: tuple[Tensor, Tensor], window: int | None) -> Tensor:
    """Return what the last position of a row reads of keys and values [1, S, K, E], [1, H * E]."""
    first = 0 if window is None else max(0, kept[0].shape[1] - window)
    k_KSE, v_KSE = (each[0, first:].transpose(0, 1) for each in kept)
    q_KGE = q_1HE.view(len(k_KSE), -1, q_1HE.shape[-1])
    return F.scaled_dot_product_attention(q_KGE[None], k_KSE[None], v_KSE[None]).reshape(1, -1)


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
            read_B1D[row] = read_alone(q_B1HE[row], kept, self.window if kind == "window" else None)
        return read_B1D

    def step(self) -> None:
        """Count the position that every layer has read."""
        for cache in self.caches:
            cache.length += 1


AnyCache = Cache | BlockCache | RowCaches  # where a layer finds what was read before
