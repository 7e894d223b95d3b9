"""The kind `pairs`: a model that predicts a token from the one before it."""

import zlib
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from cluster.rows import Rows
from models.config import ModelConfig
from models.device import MicroBatch
from models.kinds.kind import Handover, Pretrained
from models.kinds.loss import Head
from models.kinds.partial import Parameter, Role
from models.size import padded_vocab


class PairsConfig(ModelConfig):
    """The keys of `model` where `kind` is pairs."""

    kind: str = "pairs"
    rank: int = Field(16, ge=1, description="Width of a token.")


class Module(nn.Module):
    """Embedding and head; `Head` turns hidden states into nats."""

    def __init__(self, rank: int, vocab_size: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(padded_vocab(vocab_size), rank)
        self.head = Head(rank, vocab_size, padded_vocab(vocab_size))

    def forward(self, inputs: Tensor, labels: Tensor, each: bool) -> Tensor:
        """Return the sum of nats, or with `each` those of every label."""
        return self.head(self.embed(inputs), labels, each)


class Pairs:
    """What the loop asks of this kind."""

    config = PairsConfig

    def num_parameters(self, config: PairsConfig, vocab_size: int) -> int:
        """Count both tables."""
        return 2 * padded_vocab(vocab_size) * config.rank

    def parameters(self, config: PairsConfig, vocab_size: int) -> dict[str, Parameter]:
        """Say what the tables are; none may get an adapter."""
        shape = (padded_vocab(vocab_size), config.rank)
        embed = Parameter(shape, "embed.weight", Role.LOOKUP)
        return {"embed.weight": embed, "head.weight": Parameter(shape, "head.weight")}

    def flops_per_token(self, config: PairsConfig, vocab_size: int) -> float:
        """Count the head, three times for forward and backward."""
        return 6.0 * padded_vocab(vocab_size) * config.rank

    def arrange(self, rows: Rows) -> Rows:
        """Rows are read as they are packed."""
        return rows

    def build(self, config: PairsConfig, vocab_size: int, seed: int | None) -> nn.Module:
        """Draw each parameter from a generator of its own, a function of seed and name."""
        model = Module(config.rank, vocab_size)
        for name, parameter in model.named_parameters() if seed is not None else ():
            generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}".encode()))
            nn.init.normal_(parameter, std=0.02, generator=generator)
        return model

    def loss(self, forward: Any, batch: MicroBatch) -> Tensor:
        """Return the sum of nats."""
        return forward(batch.inputs, batch.labels, each=False)

    def nats(self, forward: Any, batch: MicroBatch) -> Tensor:
        """Return the nats of each label."""
        return forward(batch.inputs, batch.labels, each=True)

    def export(self, model: Pretrained, handover: Handover, directory: Path) -> None:
        """Refuse, because no library loads this architecture."""
        raise ValueError(f"{directory} is not written: transformers know no pairs; export a decoder")

    def read(self, directory: Path) -> Pretrained:
        """Refuse, likewise."""
        raise ValueError(f"{directory} holds no pairs; start from scratch")


PAIRS = Pairs()
