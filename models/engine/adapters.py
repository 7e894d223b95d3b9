"""How does a model train only in part, and what are its parameters then called?

peft sets two small matrices beside each chosen one and freezes the rest (LoRA); our names are the module's without what
peft adds to them, so that a checkpoint does not depend on it and frozen weights have the names they always had. The
first matrix is drawn as peft draws it, but each from a generator of its own, a function of (seed, name): the same on
any number of workers. The second begins at zero, so that training begins at the model as it was.
"""

import math
import zlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.config import ModelConfig
from models.kinds.kinds import kind_of
from models.kinds.partial import MATRICES, freezes, module_of, targets_of
from models.lora import LoraConfig

ADAPTER = "default"  # what peft calls the only one that there is
FIRST, SECOND = MATRICES


@dataclass
class RowsAt:
    """Where the rows stand that are computed now: the step, and the first one's number in its global batch."""

    step: int = 0
    first_row: int = 0


class RowDropout(nn.Module):
    """Dropout whose mask is a function of (step, row of the global batch, name) alone.

    So it is the same after a kill and on any number of workers, which a generator's state is not.
    """

    def __init__(self, name: str, share: float, at: RowsAt) -> None:
        super().__init__()
        self.name, self.share, self.at = name, share, at

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Return the states, in training with a share of them dropped."""
        if not self.training:
            return x_BLD
        kept_BLD = torch.empty_like(x_BLD)
        for index, kept_LD in enumerate(kept_BLD):
            key = f"{self.at.step}/{self.at.first_row + index}/{self.name}"
            generator = torch.Generator(x_BLD.device).manual_seed(zlib.crc32(key.encode()))
            kept_LD.bernoulli_(1 - self.share, generator=generator)
        return x_BLD * kept_BLD / (1 - self.share)


def train_in_part(model: nn.Module, config: ModelConfig, vocab_size: int) -> RowsAt | None:
    """Freeze what is not to train, and set adapters beside what `model.lora` names; nothing where all trains.

    Returns what dropout must be told before each forward pass; None: there is none.
    """
    at = RowsAt() if config.lora is not None and config.lora.dropout else None
    if config.lora is not None:
        names = targets_of(config.lora, kind_of(config).parameters(config, vocab_size))
        modules = [module_of(name) for name in names]
        _inject(model, config.lora, modules)
        if at is not None:
            for module in modules:
                layer: Any = model.get_submodule(module)
                layer.lora_dropout[ADAPTER] = RowDropout(module, config.lora.dropout, at)
    elif config.freeze is not None:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not freezes(config.freeze, name))
    return at


def _inject(model: nn.Module, config: LoraConfig, modules: list[str]) -> None:
    import peft  # 3 s, with all of transformers: for those alone who train adapters

    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        target_modules=modules,
        init_lora_weights=False,  # `draw` does it
    )
    peft.inject_adapter_in_model(settings, model)


def our_name(name: str) -> str:
    """Name a parameter of a module with adapters as everybody else does.

    >>> our_name("layers.0.q.base_layer.weight"), our_name("layers.0.q.lora_A.default.weight")
    ('layers.0.q.weight', 'layers.0.q.lora_A.weight')
    """
    return name.replace(".base_layer.", ".").replace(f".{ADAPTER}.", ".")


def is_adapter(name: str) -> bool:
    """Is a parameter one of an adapter's two matrices?"""
    return module_of(name).rpartition(".")[2] in MATRICES


def draw(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """Draw an adapter's matrix as it begins: uniform within 1/sqrt(in) (He et al. 2015 with a = sqrt 5), or zero."""
    if module_of(name).endswith(SECOND):
        return torch.zeros(shape)
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}".encode()))  # it reads 32 bits
    most = 1 / math.sqrt(shape[1])
    return torch.empty(shape).uniform_(-most, most, generator=generator)


def merged(weight: Tensor, first: Tensor, second: Tensor, scale: float, *, transposed: bool) -> Tensor:
    """Return a frozen matrix with its adapter's product added, in float32."""
    product: Any = second.float() @ first.float()
    return weight.float() + scale * (product.T if transposed else product)
