"""What does the model compute?

A Llama-family decoder: RMSNorm, rotary positions in Hugging Face's rotate-half convention, grouped-query
attention, SwiGLU, no biases, so that `hf.export` gives the same logits elsewhere. Documents packed into one
row never see each other: positions restart and attention is masked at each segment. The layout of a micro
batch (positions, mask) is computed once and shared by all layers; a block-diagonal mask costs 2-4 % against
plain causal attention on a CPU.
"""

import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.config import ModelConfig
from models.device import compiled, moved
from models.kinds.loss import Head
from models.size import padded_vocab

# Shape suffixes: B rows, L positions, T = B * L, D width, H heads, K key/value heads, E head width.
# Heads stay behind positions, as flash attention over packed documents wants them: nothing is copied.
MAX_FLASH_WIDTH = 256
MOST_THREADS = 16  # that draw weights

varlen_attn: Any = None
if torch.cuda.is_available():  # importing it costs 3 s of torch's compiler, and only a GPU runs it
    with suppress(ImportError):  # flash attention over packed documents; absent before torch 2.10
        from torch.nn.attention.varlen import varlen_attn


class AttentionLayout(NamedTuple):
    """Where documents lie in a micro batch: computed once, shared by all layers."""

    cos: Tensor  # [B or 1, L, 1, E]
    sin: Tensor
    mask: Tensor | None  # bool [B, 1, L, L]; None: plain causal attention, or `boundaries` says it
    boundaries: Tensor | None  # int32 starts of documents in the flattened rows, for flash attention


class Transformer(nn.Module):
    """Decoder; given labels its forward gives nats, else hidden states."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.config, self.vocab_size = config, vocab_size
        self.embed = nn.Embedding(padded_vocab(vocab_size), config.width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = Norm(config)
        self.head = Head(config.width, vocab_size, padded_vocab(vocab_size))
        if config.tie_embeddings:
            self.embed.weight = self.head.weight

    def forward(
        self,
        inputs_BL: Tensor,
        segments_BL: Tensor | None = None,
        labels_BL: Tensor | None = None,
        each: bool = False,
    ) -> Tensor:
        """Return hidden states [B, L, D], or given labels their nats as `Head` does (ZeRO-3 needs it inside).

        `segments_BL` numbers the documents of each row, one number a stretch; None says that every row is one
        document. Keep it on the host: it is read there and only what attention needs is moved to the device.
        """
        h_BLD = self.embed(inputs_BL)
        layout = make_layout(segments_BL, inputs_BL.shape, self.config, h_BLD)
        for layer in self.layers:
            if self.config.recompute and torch.is_grad_enabled():
                h_BLD = checkpoint(layer, h_BLD, layout, use_reentrant=True)
            else:
                h_BLD = layer(h_BLD, layout)
        h_BLD = self.norm(h_BLD)
        return h_BLD if labels_BL is None else self.head(h_BLD, labels_BL, each)


def initialise(model: Transformer, seed: int) -> None:
    """Draw the initial weights: each parameter from its own generator, a function of (seed, its name) alone.

    Normal of `init_std`, clipped at three of them; the matrices that write into the residual stream are scaled by
    1/sqrt(2 * layers) (GPT-2, section 2.3); norms start at one. Parameters are drawn side by side on all cores: one
    after the other a model of 7 B parameters takes over a minute, at every start of every worker.
    """

    def draw(named: tuple[str, nn.Parameter]) -> None:
        name, parameter = named
        if parameter.ndim < 2:
            nn.init.ones_(parameter)
            return
        residual = name.endswith(("o.weight", "down.weight"))
        std = model.config.init_std / (2 * model.config.layers) ** 0.5 if residual else model.config.init_std
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}".encode()))  # it reads 32 bits
        with torch.no_grad():
            parameter.normal_(0.0, std, generator=generator).clamp_(-3 * std, 3 * std)

    with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as pool:
        list(pool.map(draw, model.named_parameters()))


def make_layout(segments_BL: Tensor | None, shape: torch.Size, config: ModelConfig, like: Tensor) -> AttentionLayout:
    """Compute positions, rotations and the attention mask of one micro batch on `like`'s device.

    >>> segments = torch.tensor([[0, 0, 0, 1, 1]])
    >>> document_positions(segments)
    tensor([[0, 1, 2, 0, 1]])
    """
    rows, length = shape
    if segments_BL is None or bool((segments_BL == segments_BL[:, :1]).all()):
        cos, sin = rotations(torch.arange(length).expand(1, length), config, like)
        return AttentionLayout(cos, sin, None, None)
    positions_BL = document_positions(segments_BL)
    cos, sin = rotations(positions_BL, config, like)
    if use_varlen(config, like):
        starts = torch.nonzero((positions_BL == 0).flatten()).flatten()
        ends = torch.tensor([rows * length], device=starts.device)
        return AttentionLayout(cos, sin, None, moved(torch.cat((starts, ends)).int(), like.device))
    segments_BL = segments_BL.to(like.device)
    same_BLL = segments_BL[:, :, None] == segments_BL[:, None, :]
    mask_B1LL = same_BLL.tril_().unsqueeze(1)
    return AttentionLayout(cos, sin, mask_B1LL, None)


def document_positions(segments_BL: Tensor) -> Tensor:
    """Return the position of each token within its document."""
    index_L = torch.arange(segments_BL.shape[1], device=segments_BL.device)
    starts_BL = torch.zeros_like(segments_BL, dtype=torch.long)
    starts_BL[:, 1:] = torch.where(segments_BL[:, 1:] != segments_BL[:, :-1], index_L[1:], 0)
    return index_L - starts_BL.cummax(dim=1).values


def rotations(positions_BL: Tensor, config: ModelConfig, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return cos and sin [B, L, 1, E] of the rotary angles, computed in float32 (RoFormer)."""
    head_width = config.width // config.heads
    exponents = torch.arange(0, head_width, 2, dtype=torch.float32, device=like.device) / head_width
    frequencies = 1.0 / (config.rope_theta**exponents)
    angles = moved(positions_BL.float(), like.device)[:, :, None, None] * frequencies
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def use_varlen(config: ModelConfig, like: Tensor) -> bool:
    """Say whether flash attention over packed documents can serve this tensor."""
    half = like.dtype in (torch.bfloat16, torch.float16)
    return varlen_attn is not None and like.is_cuda and half and config.width // config.heads <= MAX_FLASH_WIDTH


class Norm(nn.Module):
    """RMSNorm (Zhang and Sennrich 2019)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.width))
        self.eps = config.norm_eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class Layer(nn.Module):
    """One decoder layer: attention and SwiGLU, each behind a norm and added to the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        kv_width = config.kv * (config.width // config.heads)
        self.heads, self.kv = config.heads, config.kv
        self.attention_norm, self.ffn_norm = Norm(config), Norm(config)
        self.q = nn.Linear(config.width, config.width, bias=False)
        self.k = nn.Linear(config.width, kv_width, bias=False)
        self.v = nn.Linear(config.width, kv_width, bias=False)
        self.o = nn.Linear(config.width, config.width, bias=False)
        self.gate = nn.Linear(config.width, config.ffn, bias=False)
        self.up = nn.Linear(config.width, config.ffn, bias=False)
        self.down = nn.Linear(config.ffn, config.width, bias=False)

    def forward(self, h_BLD: Tensor, layout: AttentionLayout) -> Tensor:
        h_BLD = h_BLD + self._attend(self.attention_norm(h_BLD), layout)
        x_BLD = self.ffn_norm(h_BLD)
        return h_BLD + self.down(swiglu(self.gate(x_BLD), self.up(x_BLD)))

    def _attend(self, x_BLD: Tensor, layout: AttentionLayout) -> Tensor:
        rows, length, width = x_BLD.shape
        q_BLHE = rotate(self.q(x_BLD).view(rows, length, self.heads, -1), layout.cos, layout.sin)
        k_BLKE = rotate(self.k(x_BLD).view(rows, length, self.kv, -1), layout.cos, layout.sin)
        v_BLKE = self.v(x_BLD).view(rows, length, self.kv, -1)
        if layout.boundaries is not None:
            return self.o(flash(q_BLHE, k_BLKE, v_BLKE, layout.boundaries).reshape(rows, length, width))
        q_BHLE, k_BKLE, v_BKLE = (x.transpose(1, 2) for x in (q_BLHE, k_BLKE, v_BLKE))
        if self.kv != self.heads:
            k_BKLE = k_BKLE.repeat_interleave(self.heads // self.kv, dim=1)
            v_BKLE = v_BKLE.repeat_interleave(self.heads // self.kv, dim=1)
        mask = layout.mask
        y_BHLE = F.scaled_dot_product_attention(q_BHLE, k_BKLE, v_BKLE, attn_mask=mask, is_causal=mask is None)
        return self.o(y_BHLE.transpose(1, 2).reshape(rows, length, width))


@compiled
def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """Return silu(gate) * up (Shazeer 2020)."""
    return F.silu(gate) * up


@compiled
def rotate(x_BLHE: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary positions, pairing coordinate i with i + E/2 (Hugging Face's Llama layout)."""
    left, right = x_BLHE.chunk(2, dim=-1)
    return x_BLHE * cos + torch.cat((-right, left), dim=-1) * sin


def flash(q_BLHE: Tensor, k_BLKE: Tensor, v_BLKE: Tensor, boundaries: Tensor) -> Tensor:
    """Attend causally within each document by variable-length flash attention; returns [T, H, E]."""
    q_THE, k_TKE, v_TKE = (x.flatten(0, 1) for x in (q_BLHE, k_BLKE, v_BLKE))
    longest = q_BLHE.shape[1]
    return varlen_attn(
        q_THE, k_TKE, v_TKE, boundaries, boundaries, longest, longest, window_size=(-1, 0), enable_gqa=True
    )
