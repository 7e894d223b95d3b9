"""The kind `decoder`: what can be said of a Llama-family decoder without building it, and where its parts are.

`models/kinds/transformer.py` is the module, `loss.py` its head. They bring torch and are imported when a model is
built; counting, and looking at a Hugging Face folder (`models/kinds/exchange`), need none of them.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.rows import Rows
from models.config import ModelConfig
from models.kinds.exchange.folder import read_folder
from models.kinds.exchange.names import their_name
from models.kinds.kind import Handover, Pretrained
from models.kinds.partial import Parameter, Role
from models.kinds.shapes import parameter_shapes
from models.size import padded_vocab

if TYPE_CHECKING:
    from torch import Tensor, nn

    from models.device import MicroBatch
    from models.kinds.kind import Forward


class Decoder:
    """Llama-family decoders: RMSNorm, rotary positions, grouped-query attention, SwiGLU, and what switches add."""

    config = ModelConfig

    def num_parameters(self, config: ModelConfig, vocab_size: int) -> int:
        """Count parameters, padded vocabulary included."""
        return sum(math.prod(shape) for shape in parameter_shapes(config, padded_vocab(vocab_size)).values())

    def parameters(self, config: ModelConfig, vocab_size: int) -> dict[str, Parameter]:
        """Say of each parameter what it is; the matrices of the layers may get adapters."""

        def role(name: str, shape: tuple[int, ...]) -> Role:
            if name.startswith("layers.") and len(shape) == 2:
                return Role.MATRIX
            return Role.LOOKUP if name == "embed.weight" and not config.tie_embeddings else Role.OTHER

        shapes = parameter_shapes(config, padded_vocab(vocab_size))
        return {n: Parameter(shape, their_name(n, config), role(n, shape)) for n, shape in shapes.items()}

    def flops_per_token(self, config: ModelConfig, vocab_size: int, causal: bool = False) -> float:
        """Count training FLOPs of one token in a full row, as PaLM's appendix B and LLM Foundry do.

        6 per matrix parameter plus 12 * heads * head width for each position that each layer reads, without
        recomputation. The input table is a look-up and does not count; the output table does. `causal` counts only the
        attention below the diagonal.
        """
        table = padded_vocab(vocab_size) * config.width
        matrices = self.num_parameters(config, vocab_size) + table * config.further  # each head multiplies with it
        if not config.tie_embeddings:
            matrices -= table
        most = min(config.window or config.row_tokens, config.row_tokens)
        kinds = (*config.kinds, *(config.kinds[-1:] * config.further))
        positions = sum(most if kind == "window" else config.row_tokens for kind in kinds)
        attention = 12 * config.heads * config.head * positions
        return 6.0 * matrices + attention * (0.5 if causal else 1.0)

    def arrange(self, rows: Rows) -> Rows:
        """Packed rows are what a decoder reads."""
        return rows

    def build(self, config: ModelConfig, vocab_size: int, seed: int | None) -> "nn.Module":
        """Build a `Transformer`, with heads for further tokens where they are configured."""
        from models.kinds.multi_token.transformer import build_decoder  # torch, 2 s: not for counting

        return build_decoder(config, vocab_size, seed)

    def loss(self, forward: "Forward", batch: "MicroBatch") -> "Tensor":
        """Return the sum of nats, computed inside the forward pass."""
        return forward(batch.inputs, batch.segments, batch.labels)

    def nats(self, forward: "Forward", batch: "MicroBatch") -> "Tensor":
        """Return the nats of each label."""
        return forward(batch.inputs, batch.segments, batch.labels, each=True)

    def export(self, model: Pretrained, handover: Handover, directory: Path) -> None:
        """Write a Hugging Face folder of the family that the configuration is one of, without heads beyond its own."""
        from models.kinds.exchange.writing import write_folder  # torch, as above

        write_folder(model._replace(config=model.config.trunk), handover, directory)

    def read(self, directory: Path) -> Pretrained:
        """Look into a Hugging Face folder; its tensors are read one by one, when they are asked for."""
        return read_folder(directory)
