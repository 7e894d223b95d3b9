"""What does the transformers library say of a family, without its weights?

Imported when a model is counted or a folder is looked into: it brings torch, and takes 3 s.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import transformers
from pydantic import JsonValue
from torch import nn
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.pytorch_utils import Conv1D

from models.kinds.causal.config import CausalConfig
from models.kinds.causal.module import PackedDocuments, draw_weights, library_config
from models.kinds.causal.packing import keeps_apart
from models.kinds.partial import Parameter, Role

USUAL_CONTEXT = 2048  # where a family has no longest row


@dataclass(frozen=True)
class Library:
    """What the library's models of one sort have in common."""

    named: frozenset[str]  # each model_type that it has
    factory: Any  # its Auto class, which makes a module of a config
    documents: type[PackedDocuments]  # how a module is given rows
    config: type[CausalConfig]

    def build_model(self, family: Mapping[str, JsonValue]) -> nn.Module:
        """Build the family's module, with weights as transformers draw them."""
        model: nn.Module = self.factory.from_config(library_config(family), dtype=torch.float32)
        return model

    def build_documents(self, config: CausalConfig, seed: int | None) -> PackedDocuments:
        """Build the module of a configuration; initial weights are a function of (seed, parameter's name)."""
        packed = self.keeps_apart(config.family) if config.packed is None else config.packed
        module = self.documents(self.build_model(config.family), packed=packed)
        if config.recompute:
            model: Any = module.model
            model.gradient_checkpointing_enable({"use_reentrant": False})
        if seed is not None:
            draw_weights(module, config.init_std, seed)
        return module

    def keeps_apart(self, family: Mapping[str, JsonValue]) -> bool:
        """May documents of a family be packed? ValueError where it cannot be had."""
        return keeps_apart(family, self.build_model, self.documents)

    def config_of_family(self, family: dict[str, JsonValue], directory: Path) -> CausalConfig:
        """Read a config.json as ours, and find out whether documents may be packed; ValueError where it is refused."""
        try:
            theirs = library_config(family)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise ValueError(f"{directory}/config.json is refused by transformers ({error}); fetch it again") from error
        shape: dict[str, object] = {"layers": theirs.num_hidden_layers, "width": theirs.hidden_size}
        shape["heads"] = self.heads_of(theirs)
        shape |= {"vocabulary": theirs.vocab_size, "row_tokens": self.context_of(family)}
        config = self.config.model_validate(shape | {"from": str(directory), "family": family})
        return config.model_copy(update={"packed": self.keeps_apart(family), "start": None})

    def heads_of(self, theirs: Any) -> int:
        """How many heads are told: 1, because the decoder's rules for their width are not those of every family."""
        return 1

    def context_of(self, family: dict[str, JsonValue]) -> int:
        """How many positions a document may have."""
        return getattr(library_config(family), "max_position_embeddings", None) or USUAL_CONTEXT

    def parameters_of(self, key: str) -> dict[str, Parameter]:
        """Look at the library's module, built without memory; key: a config.json as text."""
        return _parameters(self, key)

    def prefix_of(self, key: str) -> str:
        """What stands before the names of the body in a module that has a head, and not in an older folder."""
        with torch.device("meta"):
            model: Any = self.build_model(json.loads(key))
        return f"{model.base_model_prefix}."


@lru_cache(maxsize=8)
def _parameters(library: Library, key: str) -> dict[str, Parameter]:
    with torch.device("meta"):
        model: Any = library.build_model(json.loads(key))
    head = model.get_output_embeddings()
    roles: dict[int, tuple[Role, bool]] = {}
    for module in model.modules():
        if isinstance(module, torch.nn.Embedding) and (head is None or module.weight is not head.weight):
            roles[id(module.weight)] = Role.LOOKUP, False
        elif isinstance(module, torch.nn.Linear | Conv1D) and module is not head:
            roles[id(module.weight)] = Role.MATRIX, isinstance(module, Conv1D)
    named = model.named_parameters()
    plain = Role.OTHER, False
    return {n: Parameter(tuple(p.shape), n, *roles.get(id(p), plain)) for n, p in named}


LIBRARY = Library(
    frozenset(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES), transformers.AutoModelForCausalLM, PackedDocuments, CausalConfig
)
