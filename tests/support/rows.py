"""Packed rows, and decoders of every switch, for tests of the model."""

import numpy as np
import torch

from models.config import ModelConfig
from models.rope import RopeConfig

VOCAB = 50
CONFIG = ModelConfig(layers=2, width=32, heads=4, kv_heads=2, row_tokens=24)
SWITCHED = (
    CONFIG,
    CONFIG.model_copy(update={"head_width": 16, "qk_norm": "head", "tie_embeddings": False}),
    CONFIG.model_copy(update={"qk_norm": "full", "norm_at": "after", "biases": "qkv"}),
    CONFIG.model_copy(update={"biases": "all", "rope": RopeConfig(factor=4, original_tokens=8)}),
    CONFIG.model_copy(update={"biases": "attention", "window": 5, "layer_kinds": ("window", "nope")}),
)


def packed_rows(cuts: list[int], rows: int = 1, length: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    """Make rows of documents that begin at 0 and at each cut."""
    tokens = torch.from_numpy(np.random.default_rng(sum(cuts)).integers(0, VOCAB, (rows, length)))
    segments = (torch.arange(length)[None] >= torch.tensor(sorted(set(cuts)))[:, None]).sum(0)
    return tokens, segments.expand(rows, -1).contiguous()
