"""The kind `transformers`: any causal language model of that library, through the same engine, rows and gate.

The library is imported when a model is counted or built (3 s), never for a configuration. Nothing of a folder is run:
remote code is refused, and so are weights that are no safetensors. What a family does beyond next-token logits (the
auxiliary loss of a mixture of experts, dropout) is left out.
"""

import json
import math
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from cluster.rows import Rows
from models.config import ModelConfig
from models.kinds.causal.config import CausalConfig
from models.kinds.exchange.folder import CONVERT, FolderWeights, Stored, read_headers, read_keys
from models.kinds.kind import Handover, Pretrained
from models.kinds.partial import Parameter, Role

if TYPE_CHECKING:
    from torch import Tensor, nn

    from models.device import MicroBatch
    from models.kinds.causal.library import Library
    from models.kinds.kind import Forward

INSIDE = "model."  # before the library's names, in our module
IGNORED = ("rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias")


class Causal:
    """Causal language models of transformers."""

    config: type[CausalConfig] = CausalConfig
    sort = "causal language model"  # in words
    left_out: tuple[str, ...] = ("lm_head.",)  # what a folder may hold beside the parameters: tied tables

    def library(self) -> "Library":
        """The library's models of this sort; it is imported here."""
        library: Library = import_module("models.kinds.causal.library").LIBRARY
        return library

    def num_parameters(self, config: ModelConfig, vocab_size: int) -> int:
        """Count parameters."""
        return sum(math.prod(found.shape) for found in self.parameters(config, vocab_size).values())

    def parameters(self, config: ModelConfig, vocab_size: int) -> dict[str, Parameter]:
        """Say of each parameter what it is; matrices of layers may get adapters."""
        said = self.library().parameters_of(family_key(_mine(config), vocab_size))
        return {f"{INSIDE}{name}": found for name, found in said.items()}

    def flops_per_token(self, config: ModelConfig, vocab_size: int) -> float:
        """Count training FLOPs as for a decoder: 6 for each number that is multiplied with, 12 for each that is read.

        Every expert of a mixture counts, also those that a token does not visit.
        """
        found = self.parameters(config, vocab_size).values()
        matrices = sum(math.prod(one.shape) for one in found if len(one.shape) > 1 and one.role != Role.LOOKUP)
        return 6.0 * matrices + 12.0 * config.layers * config.width * config.row_tokens

    def arrange(self, rows: Rows) -> Rows:
        """Packed rows; the module parts them where it must."""
        return rows

    def build(self, config: ModelConfig, vocab_size: int, seed: int | None) -> "nn.Module":
        """Build the library's module, for packed rows."""
        mine = _mine(config)
        mine = mine.model_copy(update={"family": json.loads(family_key(mine, vocab_size))})
        module: nn.Module = self.library().build_documents(mine, seed)
        return module

    def loss(self, forward: "Forward", batch: "MicroBatch") -> "Tensor":
        """Return the sum of nats."""
        return forward(batch.inputs, batch.segments, batch.labels)

    def nats(self, forward: "Forward", batch: "MicroBatch") -> "Tensor":
        """Return the nats of each label."""
        return forward(batch.inputs, batch.segments, batch.labels, each=True)

    def export(self, model: Pretrained, handover: Handover, directory: Path) -> None:
        """Write a folder in the library's own layout."""
        writing = import_module("models.kinds.exchange.writing")  # torch, as the library
        config, parameters = _mine(model.config), self.parameters(model.config, model.vocab_size)
        tensors = {name: (found.theirs, found.shape) for name, found in parameters.items()}
        layout = writing.FolderLayout(json.loads(family_key(config, model.vocab_size)), tensors)
        writing.write_files(model, layout, handover, directory)

    def read(self, directory: Path) -> Pretrained:
        """Look into a folder; its tensors are read one by one, when they are asked for."""
        family = read_keys(directory, "config.json")
        self._refuse(family, directory)
        config = self.library().config_of_family(family, directory)
        return self._found(config, directory, read_headers(directory))

    def _found(self, config: CausalConfig, directory: Path, stored: Mapping[str, Stored]) -> Pretrained:
        """Find each parameter among the tensors that a folder holds."""
        vocab_size = config.tokens_of(0)
        places, left = {}, set(stored)
        base = self.library().prefix_of(family_key(config, vocab_size))
        for ours, parameter in self.parameters(config, vocab_size).items():
            name = next((n for n in _names(parameter.theirs, base) if n in stored), None)
            if name is None and self.begins_anew(parameter.theirs, base):
                continue
            if name is None or stored[name].shape != parameter.shape:
                there = "absent" if name is None else list(stored[name].shape)
                raise ValueError(
                    f"{parameter.theirs} of {directory} is {there}, transformers have it as {list(parameter.shape)}; "
                    "load and save the folder with their newest version, or fetch all its files"
                )
            places[ours] = stored[name]
            left.discard(name)
        beside = {n for n in left if n.removeprefix(base).startswith(self.left_out) or n.endswith(IGNORED)}
        if extra := sorted(left - beside):
            raise ValueError(f"{directory} has {extra[0]}, which its family has not; fetch its own config.json")
        return Pretrained(config, vocab_size, FolderWeights(places, vocab_size))

    def begins_anew(self, theirs: str, base: str) -> bool:
        """May a folder lack this parameter, so that it is drawn? base: what stands before the names of the body."""
        return False

    def _refuse(self, family: dict[str, JsonValue], directory: Path) -> None:
        """Refuse what would run code, what transformers do not know, and what is rounded."""
        if find_spec("transformers") is None:
            raise ValueError(
                f"model.kind={self.config.model_fields['kind'].default} needs transformers, which is not installed; "
                "pip install 'headrace[transformers]'"
            )
        if "auto_map" in family:
            raise ValueError(
                f"{directory} brings code of its own (auto_map in its config.json), which is never run; choose a "
                "checkpoint of a family that transformers have themselves"
            )
        if family.get("quantization_config") is not None:
            raise ValueError(f"{directory} holds quantized weights; take those they were made from. {CONVERT}")
        if family.get("model_type") not in self.library().named:
            raise ValueError(
                f"{directory} has model_type={family.get('model_type')}, which is no {self.sort} of the "
                "transformers here; choose another checkpoint, or install a newer version"
            )


def _mine(config: ModelConfig) -> CausalConfig:
    assert isinstance(config, CausalConfig)
    return config


def family_key(config: CausalConfig, vocab_size: int) -> str:
    """The family with so many tokens, as text."""
    size = config.vocabulary or vocab_size
    return json.dumps(config.family | {"vocab_size": size}, sort_keys=True)


def _names(theirs: str, base: str) -> Iterator[str]:
    """What a folder may call a parameter: as the library does, without what stands before the body, as TensorFlow did.

    >>> list(_names("bert.pooler.LayerNorm.weight", "bert."))[1:3]
    ['pooler.LayerNorm.weight', 'bert.pooler.LayerNorm.gamma']
    """
    old = theirs.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    for name in (theirs, old):
        yield from (name, name.removeprefix(base))
