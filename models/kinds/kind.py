"""What does the loop ask of a model, whatever its architecture?

A kind answers for its architecture: it counts, builds, computes the loss, and exchanges weights with the Hugging Face
world. All else (engine, checkpoints, evaluation, planner) goes through it and knows no layer. Importing this costs no
torch, because a configuration names its kind (`model.kind`) long before a model is built.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from cluster.rows import Rows
from models.config import ModelConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

    from models.device import MicroBatch
    from models.kinds.partial import Parameter

    Forward = Callable[..., Tensor]  # the module, or the engine that wraps it


class Pretrained(NamedTuple):
    """What a folder of another library holds: weights by our parameters' names, in the precision they are kept in."""

    config: ModelConfig
    vocab_size: int
    weights: "Mapping[str, Tensor]"


class Precision(StrEnum):
    """In which precision weights leave."""

    FP32 = "fp32"
    BF16 = "bf16"


class Handover(NamedTuple):
    """How a model is to leave: its tokenizer, the precision, and the files of the folder that its run began with."""

    tokenizer_json: str
    document_token: int
    precision: Precision = Precision.FP32
    files: Mapping[str, bytes] = MappingProxyType({})


class Kind(Protocol):
    """A kind of model. Stateless: weights live in the module that it builds."""

    @property
    def config(self) -> type[ModelConfig]:
        """The block `model` of its runs: `ModelConfig` or a subclass with keys of its own."""
        ...

    def num_parameters(self, config: ModelConfig, vocab_size: int) -> int:
        """Count parameters without building the model."""
        ...

    def parameters(self, config: ModelConfig, vocab_size: int) -> "Mapping[str, Parameter]":
        """Say of each parameter, by its name in the module, what it is: its shape, and may an adapter stand beside it?

        Asked where only a part trains (`model.lora`, `model.freeze`). ValueError where this kind always trains whole.
        """
        ...

    def flops_per_token(self, config: ModelConfig, vocab_size: int) -> float:
        """Count training FLOPs, forward and backward, of one position in a full row."""
        ...

    def arrange(self, rows: Rows) -> Rows:
        """Lay rows out as this kind reads them: same shape and number of labels. Packed rows predict the next token."""
        ...

    def build(self, config: ModelConfig, vocab_size: int, seed: int | None) -> "nn.Module":
        """Build the module; initial weights are a function of (seed, parameter's name), None leaves them undrawn."""
        ...

    def loss(self, forward: "Forward", batch: "MicroBatch") -> "Tensor":
        """Return the float32 sum of nats over the batch's labels; differentiable.

        It calls `forward` once, which is what the module's own forward takes: ZeRO-3 gathers weights inside that call.
        """
        ...

    def nats(self, forward: "Forward", batch: "MicroBatch") -> "Tensor":
        """Return the nats [B, L] of each label, 0 where there is none; calls `forward` once, without gradients."""
        ...

    def export(self, model: Pretrained, handover: Handover, directory: Path) -> None:
        """Write a folder that Hugging Face's transformers load; ValueError where the architecture has no such form."""
        ...

    def read(self, directory: Path) -> Pretrained:
        """Look into such a folder, so that training can start from it; ValueError says what is wrong, and the mend.

        Called before a cluster is touched: it must not take long. Weights are best read when they are asked for.
        """
        ...


@runtime_checkable
class PredictsAhead(Protocol):
    """A module that learns further tokens beside those whose nats are its loss."""

    def take_ahead(self) -> "Tensor":
        """Return float64 (nats, labels) [tokens, 2] of what it learnt of them since this was last asked, on a rank."""
        ...
