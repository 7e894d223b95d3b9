"""Which positions does each position of a micro batch see?

Documents packed into one row never see each other, and a layer of kind `window` sees its last positions alone. The
layout (positions, masks) is computed once and shared by all layers; a block-diagonal mask costs 2-4 % against plain
causal attention on a CPU. On a GPU in half precision, flash attention over the documents' boundaries needs no mask.
"""

from contextlib import suppress
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.config import LayerKind, ModelConfig
from models.device import moved
from models.kinds.positions import document_positions, rotations

# Shape suffixes: B rows, L positions, T = B * L, H heads, K key/value heads, E head width, S positions seen.
# Heads stay behind positions, as flash attention over packed documents wants them: nothing is copied.
MAX_FLASH_WIDTH = 256

varlen_attn: Any = None
if torch.cuda.is_available():  # importing it costs 3 s of torch's compiler, and only a GPU runs it
    with suppress(ImportError):  # flash attention over packed documents; absent before torch 2.10
        from torch.nn.attention.varlen import varlen_attn


class AttentionLayout(NamedTuple):
    """Where documents lie in a micro batch: computed once, shared by all layers."""

    cos: Tensor  # [B or 1, L, 1, E]
    sin: Tensor
    mask: Tensor | None = None  # bool [B or 1, 1, L, S]; None: plain causal attention, or `boundaries` says it
    window_mask: Tensor | None = None  # likewise, of layers that see a window
    boundaries: Tensor | None = None  # int32 starts of documents in the flattened rows, for flash attention
    window: int | None = None

    def mask_of(self, kind: LayerKind) -> Tensor | None:
        """The mask of a layer."""
        return self.window_mask if kind == "window" else self.mask


def make_layout(segments_BL: Tensor | None, shape: torch.Size, config: ModelConfig, like: Tensor) -> AttentionLayout:
    """Compute positions, rotations and the attention masks of one micro batch on `like`'s device."""
    rows, length = shape
    window = config.window if "window" in config.kinds else None
    is_plain = segments_BL is None or bool((segments_BL == segments_BL[:, :1]).all())
    if is_plain and (window is None or window >= length):
        return AttentionLayout(*rotations(torch.arange(length).expand(1, length), config, like))
    if segments_BL is None or is_plain:
        segments_BL = torch.zeros(rows, length, dtype=torch.int32)
    positions_BL = document_positions(segments_BL)
    cos, sin = rotations(positions_BL, config, like)
    if use_varlen(config, like):
        starts = torch.nonzero((positions_BL == 0).flatten()).flatten()
        ends = torch.tensor([rows * length], device=starts.device)
        boundaries = moved(torch.cat((starts, ends)).int(), like.device)
        return AttentionLayout(cos, sin, boundaries=boundaries, window=window)
    segments_BL = segments_BL.to(like.device)
    same_BLL = segments_BL[:, :, None] == segments_BL[:, None, :]
    mask_B1LL = same_BLL.tril_().unsqueeze(1)
    return AttentionLayout(cos, sin, mask_B1LL, windowed(mask_B1LL, window))


def windowed(mask: Tensor, window: int | None) -> Tensor:
    """Return the mask [..., L, S] of positions that are seen within a window; the last of S is the last of L."""
    if window is None:
        return mask
    length, seen = mask.shape[-2:]
    return mask.logical_and(
        torch.ones(length, seen, dtype=torch.bool, device=mask.device).triu_(seen - length - window + 1)
    )


def cached_layout(start: int, length: int, config: ModelConfig, like: Tensor) -> AttentionLayout:
    """Lay out `length` positions that follow `start` others of the same document, whose keys and values are kept."""
    cos, sin = rotations(torch.arange(start, start + length).expand(1, length), config, like)
    mask = torch.ones(1, 1, length, start + length, dtype=torch.bool, device=like.device).tril_(start)
    return AttentionLayout(cos, sin, mask, windowed(mask, config.window))


def use_varlen(config: ModelConfig, like: Tensor) -> bool:
    """Say whether flash attention over packed documents can serve this tensor."""
    half = like.dtype in (torch.bfloat16, torch.float16)
    return varlen_attn is not None and like.is_cuda and half and config.head <= MAX_FLASH_WIDTH


def attend(q_BLHE: Tensor, k_BSKE: Tensor, v_BSKE: Tensor, layout: AttentionLayout, kind: LayerKind) -> Tensor:
    """Return what each position reads of those that it sees, [B, L, H * E]."""
    rows, length, heads, _ = q_BLHE.shape
    if layout.boundaries is not None:
        window = layout.window if kind == "window" else None
        return flash(q_BLHE, k_BSKE, v_BSKE, layout.boundaries, window).reshape(rows, length, -1)
    q_BHLE, k_BKSE, v_BKSE = (x.transpose(1, 2) for x in (q_BLHE, k_BSKE, v_BSKE))
    if (groups := heads // k_BKSE.shape[1]) != 1:
        k_BKSE, v_BKSE = (x.repeat_interleave(groups, dim=1) for x in (k_BKSE, v_BKSE))
    mask = layout.mask_of(kind)
    y_BHLE = F.scaled_dot_product_attention(q_BHLE, k_BKSE, v_BKSE, attn_mask=mask, is_causal=mask is None)
    return y_BHLE.transpose(1, 2).reshape(rows, length, -1)


def flash(q_BLHE: Tensor, k_BLKE: Tensor, v_BLKE: Tensor, boundaries: Tensor, window: int | None) -> Tensor:
    """Attend causally within each document by variable-length flash attention; returns [T, H, E]."""
    q_THE, k_TKE, v_TKE = (x.flatten(0, 1) for x in (q_BLHE, k_BLKE, v_BLKE))
    longest, before = q_BLHE.shape[1], -1 if window is None else window - 1
    return varlen_attn(
        q_THE, k_TKE, v_TKE, boundaries, boundaries, longest, longest, window_size=(before, 0), enable_gqa=True
    )
