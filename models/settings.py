"""What can be said about a model and its engine without a tensor?

The shapes people configure, the arithmetic on them, and the rows that go in. Importing this costs no torch, so the
command line and the services that only pass a configuration on start at once.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from cluster.units import Duration, Settings

MAX_WORLD = 4096  # how far an error message looks for world sizes that fit


class ModelConfig(Settings):
    """The shape of a Llama-family decoder."""

    layers: int = Field(4, ge=1, le=512, description="Number of decoder layers.")
    width: int = Field(128, ge=8, le=65536, description="Width of the residual stream.")
    heads: int = Field(4, ge=1, le=512, description="Number of query heads; must divide width.")
    kv_heads: int | None = Field(None, ge=1, description="Number of key/value heads; absent: heads.")
    row_tokens: int = Field(256, ge=8, le=2**20, description="Positions in one packed row.")
    ffn_width: int | None = Field(None, ge=8, description="Width of the SwiGLU; absent: 8/3 of width.")
    rope_theta: float = Field(10000.0, gt=1, description="Base of the rotary position frequencies.")
    norm_eps: float = Field(1e-5, gt=0, lt=1e-2, description="Epsilon of RMSNorm.")
    tie_embeddings: bool = Field(True, description="Use one table for input and output embeddings.")
    init_std: float = Field(0.02, gt=0, le=1, description="Standard deviation of the initial weights.")
    recompute: bool = Field(False, description="Recompute layers in backward: less memory, ~1/3 slower.")

    @model_validator(mode="after")
    def _heads_fit(self) -> "ModelConfig":
        if self.width % self.heads:
            near = max(1, round(self.width / self.heads)) * self.heads
            raise ValueError(f"width={self.width} is not a multiple of heads={self.heads}; use width={near}")
        if self.width // self.heads % 2:
            raise ValueError(
                f"width={self.width} over heads={self.heads} gives heads of odd width; "
                f"rotary positions need an even one: use width={self.width + self.heads}"
            )
        if self.kv_heads is not None and self.heads % self.kv_heads:
            fits = [k for k in range(1, self.heads + 1) if self.heads % k == 0]
            raise ValueError(f"kv_heads={self.kv_heads} does not divide heads={self.heads}; use one of {fits}")
        return self

    @property
    def kv(self) -> int:
        """Number of key/value heads."""
        return self.kv_heads or self.heads

    @property
    def ffn(self) -> int:
        """Width of the feed-forward layer."""
        return self.ffn_width or -(-8 * self.width // 3 // 64) * 64


class EngineConfig(Settings):
    """How the global batch is laid over workers, and in which precision."""

    workers: int | tuple[int, int] = Field(1, description="Number of workers, or [fewest, most].")
    zero_stage: Literal[0, 1, 2, 3] = Field(1, description="ZeRO shards 1 optimizer, 2 + gradients, 3 + weights.")
    precision: Literal["auto", "bf16", "fp32"] = Field("auto", description="auto: bf16 where it is fast.")
    micro_batch_rows: int = Field(8, ge=1, le=65536, description="Most rows in one forward pass of a worker.")
    batch_tokens: int = Field(16384, ge=8, description="Tokens in the global batch, whatever the workers.")
    hang_seconds: Duration = Field(600.0, gt=0, description="Silence after which workers are killed and restarted.")
    threads: int = Field(1, ge=1, le=512, description="Threads of a worker on a CPU; more than cores collapses.")

    @model_validator(mode="after")
    def _workers_are_a_range(self) -> "EngineConfig":
        if self.fewest < 1 or self.most < self.fewest:
            raise ValueError(f"workers={self.workers} must be a number from 1, or [fewest, most] such as [1, 4]")
        return self

    @property
    def fewest(self) -> int:
        """Fewest workers to train with."""
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @property
    def most(self) -> int:
        """Most workers to train with."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]

    def batch_rows(self, row_tokens: int) -> int:
        """Rows in the global batch; ValueError where it is no whole number of rows."""
        if self.batch_tokens % row_tokens:
            raise ValueError(self._misfit(self.fewest, row_tokens))
        return self.batch_tokens // row_tokens

    def check_even(self, world_size: int, row_tokens: int) -> None:
        """Raise ValueError unless so many workers share the global batch evenly."""
        if self.batch_rows(row_tokens) % world_size:
            raise ValueError(self._misfit(world_size, row_tokens))

    def split(self, world_size: int, row_tokens: int) -> tuple[int, int]:
        """Return (accumulation, micro batch rows) of each of `world_size` workers.

        Where the batch does not divide, as when a node is lost, the last workers get empty rows.

        >>> EngineConfig(batch_tokens=8192, micro_batch_rows=6).split(2, 256)
        (4, 4)
        """
        mine = -(-self.batch_rows(row_tokens) // world_size)
        micro = max(size for size in range(1, min(self.micro_batch_rows, mine) + 1) if mine % size == 0)
        return mine // micro, micro

    def world_sizes(self, row_tokens: int) -> list[int]:
        """Every number of workers in the configured range that splits the global batch evenly."""
        rows = self.batch_rows(row_tokens)
        return [size for size in range(self.fewest, self.most + 1) if rows % size == 0]

    def _misfit(self, world_size: int, row_tokens: int) -> str:
        rows = self.batch_tokens // row_tokens
        better = -(-self.batch_tokens // (row_tokens * world_size)) * row_tokens * world_size
        text = f"engine.batch_tokens={self.batch_tokens} cannot be split over {world_size} workers "
        text += f"in rows of {row_tokens} tokens: use "
        if rows and self.batch_tokens % row_tokens == 0:
            fits = [n for n in range(1, min(rows, MAX_WORLD) + 1) if rows % n == 0]
            near = sorted(fits, key=lambda n: abs(n - world_size))[:3]
            text += f"{', '.join(map(str, sorted(near)[:-1]))} or {max(near)} workers, or " if len(near) > 1 else ""
        return text + f"batch_tokens={better}."


class Rows(NamedTuple):
    """One rank's rows, int32 [R, L]: label -100 predicts nothing; segments number documents, -1 pads."""

    inputs: NDArray[np.int32]
    labels: NDArray[np.int32]
    segments: NDArray[np.int32]


def padded_vocab(vocab_size: int) -> int:
    """Round a vocabulary up to a multiple of 64, which matrix units like.

    >>> padded_vocab(257), padded_vocab(64)
    (320, 64)
    """
    return -(-vocab_size // 64) * 64


def num_parameters(config: ModelConfig, vocab_size: int) -> int:
    """Count trainable parameters, padded vocabulary included, without building the model."""
    kv_width = config.kv * (config.width // config.heads)
    layer = 2 * config.width * (config.width + kv_width) + 3 * config.width * config.ffn + 2 * config.width
    tables = padded_vocab(vocab_size) * config.width * (1 if config.tie_embeddings else 2)
    return config.layers * layer + tables + config.width
