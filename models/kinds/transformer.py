"""What does the model compute?

A Llama-family decoder: RMSNorm, rotary positions, grouped-query attention, SwiGLU. Switches of the configuration make
it any of Llama 1-3, Mistral, Qwen 2-3, OLMo 2 and SmolLM 1-3, with the logits of Hugging Face's modules. Documents
packed into one row never see each other (attention.py); positions restart with each (positions.py).
"""

import os
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.config import LayerKind, ModelConfig
from models.device import compiled
from models.kinds.attention import AttentionLayout, attend, cached_layout, make_layout
from models.kinds.cache import AnyCache, Cache, RowCaches
from models.kinds.loss import Head
from models.kinds.positions import rotate
from models.size import padded_vocab

# Shape suffixes: B rows, L positions, D width, H heads, K key/value heads, E head width, S positions seen.
MOST_THREADS = 16  # that draw weights


class Transformer(nn.Module):
    """Decoder; given labels its forward gives nats, else hidden states."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.config, self.vocab_size = config, vocab_size
        self.embed = nn.Embedding(padded_vocab(vocab_size), config.width)
        self.layers = nn.ModuleList(Layer(config, kind) for kind in config.kinds)
        self.norm = Norm(config.width, config)
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
        z_BLD, layout = self.trunk(inputs_BL, segments_BL)
        h_BLD = self.norm(self.run(self.layers[-1], z_BLD, layout))
        return h_BLD if labels_BL is None else self.head(h_BLD, labels_BL, each)

    def trunk(self, inputs_BL: Tensor, segments_BL: Tensor | None) -> tuple[Tensor, AttentionLayout]:
        """Return the hidden states [B, L, D] before the last layer, and where documents lie."""
        h_BLD = self.embed(inputs_BL)
        layout = make_layout(segments_BL, inputs_BL.shape, self.config, h_BLD)
        if self.config.recompute and torch.is_grad_enabled() and h_BLD.is_leaf:
            h_BLD.requires_grad_()  # over a frozen table: a layer is recomputed only if its input wants a gradient
        for layer in self.layers[:-1]:
            h_BLD = self.run(layer, h_BLD, layout)
        return h_BLD, layout

    def run(self, layer: nn.Module, h_BLD: Tensor, layout: AttentionLayout) -> Tensor:
        """Return the hidden states behind a layer, which is recomputed in the backward pass where that is wanted."""
        if not self.config.recompute or not torch.is_grad_enabled():
            return layer(h_BLD, layout)
        return checkpoint(layer, h_BLD, layout, use_reentrant=True)

    def logits_of(self, inputs_BL: Tensor, segments_BL: Tensor) -> Callable[[Tensor], Tensor]:
        """Read rows; return what turns places [N] among their positions, row after row, into logits [N, V]."""
        h_TD = self(inputs_BL, segments_BL).flatten(0, 1)
        return lambda places_N: self.head.logits(h_TD[places_N])[:, : self.vocab_size]

    @torch.no_grad()
    def read_on(self, inputs_BL: Tensor, cache: Cache, each: bool = False) -> Tensor:
        """Return float32 logits [B, V] behind tokens that follow those the cache holds, and take them in.

        With `each`, those behind every token, [B, L, V].
        """
        h_BLD = self.embed(inputs_BL)
        layout = cached_layout(cache.length, inputs_BL.shape[1], self.config, h_BLD)
        for index, layer in enumerate(self.layers):
            h_BLD = layer(h_BLD, layout, cache, index)
        cache.length += inputs_BL.shape[1]
        h_BLD = self.norm(h_BLD if each else h_BLD[:, -1])
        return self.head.logits(h_BLD)[..., : self.vocab_size]

    @torch.no_grad()
    def read_rows(self, inputs_B: Tensor, caches: Sequence[Cache]) -> Tensor:
        """Return float32 logits [B, V] behind one token of each of several texts, and take it into their caches.

        Rows behind the caches are padding. Whatever the other rows hold, a row's bits depend on its cache and token,
        on B, and on its place in the batch only where a product of matrices adds otherwise there (`BatchDecoder`).
        """
        h_B1D, rows = self.embed(inputs_B[:, None]), RowCaches(caches, self.config)
        layout = rows.layout(len(inputs_B), self.config, h_B1D)
        for index, layer in enumerate(self.layers):
            h_B1D = layer(h_B1D, layout, rows, index)
        rows.step()
        return self.head.logits(self.norm(h_B1D[:, 0]))[:, : self.vocab_size]


def initialise(model: Transformer, seed: int) -> None:
    """Draw the initial weights: each parameter from its own generator, a function of (seed, its name) alone.

    Normal of `init_std`, clipped at three of them; the matrices that write into the residual stream are scaled by
    1/sqrt(2 * layers) (GPT-2, section 2.3); norms start at one, biases at zero. Parameters are drawn side by side on
    all cores: one after the other a model of 7 B parameters takes over a minute, at every start of every worker.
    """

    def drawn(named: tuple[str, nn.Parameter]) -> None:
        draw_weight(named[0], named[1], model.config, seed)

    with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as pool:
        list(pool.map(drawn, model.named_parameters()))


@torch.no_grad()
def draw_weight(name: str, into: Tensor, config: ModelConfig, seed: int) -> None:
    """Fill one parameter with its initial weights."""
    if into.ndim < 2:
        nn.init.constant_(into, 0.0 if name.endswith("bias") else 1.0)
        return
    residual = name.endswith(("o.weight", "down.weight"))
    std = config.init_std / (2 * config.layers) ** 0.5 if residual else config.init_std
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}".encode()))  # it reads 32 bits
    into.normal_(0.0, std, generator=generator).clamp_(-3 * std, 3 * std)


class Norm(nn.Module):
    """RMSNorm (Zhang and Sennrich 2019) over the last `width` numbers."""

    def __init__(self, width: int, config: ModelConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = config.norm_eps

    def forward(self, x: Tensor) -> Tensor:
        """Return x over its root mean square, weighted."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class Layer(nn.Module):
    """One decoder layer: attention and SwiGLU, each with a norm before or behind it, added to the residual stream."""

    def __init__(self, config: ModelConfig, kind: LayerKind) -> None:
        super().__init__()
        width, wide, narrow = config.width, config.heads * config.head, config.kv * config.head
        self.kind, self.head = kind, config.head
        self.norms_after, self.qk_norm = config.norm_at == "after", config.qk_norm
        self.attention_norm, self.ffn_norm = Norm(width, config), Norm(width, config)
        qkv, o, ffn = (
            config.biases in which for which in (("qkv", "attention", "all"), ("attention", "all"), ("all",))
        )
        self.q = nn.Linear(width, wide, bias=qkv)
        self.k = nn.Linear(width, narrow, bias=qkv)
        self.v = nn.Linear(width, narrow, bias=qkv)
        self.o = nn.Linear(wide, width, bias=o)
        self.gate = nn.Linear(width, config.ffn, bias=ffn)
        self.up = nn.Linear(width, config.ffn, bias=ffn)
        self.down = nn.Linear(config.ffn, width, bias=ffn)
        if config.qk_norm != "none":
            widths = (wide, narrow) if config.qk_norm == "full" else (config.head, config.head)
            self.q_norm, self.k_norm = (Norm(each, config) for each in widths)

    def forward(self, h_BLD: Tensor, layout: AttentionLayout, cache: AnyCache | None = None, index: int = 0) -> Tensor:
        """Return the next hidden states; a cache, in which the layer has an index, holds what was read before."""
        if self.norms_after:
            h_BLD = h_BLD + self.attention_norm(self._attend(h_BLD, layout, cache, index))
            return h_BLD + self.ffn_norm(self.down(swiglu(self.gate(h_BLD), self.up(h_BLD))))
        h_BLD = h_BLD + self._attend(self.attention_norm(h_BLD), layout, cache, index)
        x_BLD = self.ffn_norm(h_BLD)
        return h_BLD + self.down(swiglu(self.gate(x_BLD), self.up(x_BLD)))

    def _attend(self, x_BLD: Tensor, layout: AttentionLayout, cache: AnyCache | None, index: int) -> Tensor:
        rows, length, _ = x_BLD.shape
        q, k, v = self.q(x_BLD), self.k(x_BLD), self.v(x_BLD)
        if self.qk_norm == "full":
            q, k = self.q_norm(q), self.k_norm(k)
        q_BLHE, k_BLKE, v_BLKE = (x.view(rows, length, -1, self.head) for x in (q, k, v))
        if self.qk_norm == "head":
            q_BLHE, k_BLKE = self.q_norm(q_BLHE), self.k_norm(k_BLKE)
        if self.kind != "nope":
            q_BLHE, k_BLKE = rotate(q_BLHE, layout.cos, layout.sin), rotate(k_BLKE, layout.cos, layout.sin)
        if cache is not None:
            return self.o(cache.attend(index, (q_BLHE, k_BLKE, v_BLKE), layout, self.kind))
        return self.o(attend(q_BLHE, k_BLKE, v_BLKE, layout, self.kind))


@compiled
def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """Return silu(gate) * up (Shazeer 2020)."""
    return F.silu(gate) * up
