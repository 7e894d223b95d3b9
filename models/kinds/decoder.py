"""The kind `decoder`: what can be said of a Llama-family decoder without building it, and where its parts are.

`models/kinds/transformer.py` is the module, `loss.py` its head, `hf_llama.py` its exchange format. They bring torch and
are imported when a model is built; counting needs none of them.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from cluster.rows import Rows
from models.config import ModelConfig
from models.size import padded_vocab

if TYPE_CHECKING:
    from torch import Tensor, nn

    from models.device import MicroBatch
    from models.kinds.kind import Forward, Pretrained


class Decoder:
    """Llama-family decoders: RMSNorm, rotary positions, grouped-query attention, SwiGLU."""

    config = ModelConfig

    def num_parameters(self, config: ModelConfig, vocab_size: int) -> int:
        """Count trainable parameters, padded vocabulary included."""
        kv_width = config.kv * (config.width // config.heads)
        layer = 2 * config.width * (config.width + kv_width) + 3 * config.width * config.ffn + 2 * config.width
        tables = padded_vocab(vocab_size) * config.width * (1 if config.tie_embeddings else 2)
        return config.layers * layer + tables + config.width

    def flops_per_token(self, config: ModelConfig, vocab_size: int, causal: bool = False) -> float:
        """Count training FLOPs of one token in a full row, as PaLM's appendix B and LLM Foundry do.

        6 per matrix parameter plus 12 * layers * width * row_tokens for attention, without recomputation. The input
        table is a look-up and does not count; the output table does. `causal` counts only the attention below the
        diagonal.
        """
        matrices = self.num_parameters(config, vocab_size)
        if not config.tie_embeddings:
            matrices -= padded_vocab(vocab_size) * config.width
        attention = 12 * config.layers * config.width * config.row_tokens
        return 6.0 * matrices + attention * (0.5 if causal else 1.0)

    def arrange(self, rows: Rows) -> Rows:
        """Packed rows are what a decoder reads."""
        return rows

    def build(self, config: ModelConfig, vocab_size: int, seed: int | None) -> "nn.Module":
        """Build a `Transformer`."""
        from models.kinds.transformer import Transformer, initialise  # torch, 2 s: not for counting

        model = Transformer(config, vocab_size)
        if seed is not None:
            initialise(model, seed)
        return model

    def loss(self, forward: "Forward", batch: "MicroBatch") -> "Tensor":
        """Return the sum of nats, computed inside the forward pass."""
        return forward(batch.inputs, batch.segments, batch.labels)

    def nats(self, forward: "Forward", batch: "MicroBatch") -> "Tensor":
        """Return the nats of each label."""
        return forward(batch.inputs, batch.segments, batch.labels, each=True)

    def export(self, model: "Pretrained", tokenizer_json: str, document_token: int, directory: Path) -> None:
        """Write a Hugging Face Llama directory."""
        from models.kinds.hf_llama import export  # torch, as above

        export(model, tokenizer_json, document_token, directory)

    def read(self, directory: Path) -> "Pretrained":
        """Read a Llama-family directory without biases."""
        from models.kinds.hf_llama import import_llama  # torch, as above

        return import_llama(directory)
