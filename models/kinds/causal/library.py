"""What does the transformers library say of a family, without its weights?

Imported when a model is counted or a folder is looked into: it brings torch, and takes 3 s.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import transformers
from pydantic import JsonValue
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.pytorch_utils import Conv1D

from models.kinds.causal.config import CausalConfig
from models.kinds.causal.module import build_documents, build_model, library_config
from models.kinds.causal.packing import keeps_apart
from models.kinds.exchange.writing import FolderLayout, write_files
from models.kinds.partial import Parameter, Role

USUAL_CONTEXT = 2048  # where a family has no longest row

__all__ = ["FolderLayout", "build_documents", "keeps_apart", "write_files"]


def is_known(family: dict[str, JsonValue]) -> bool:
    """Does the library have a causal language model of this model_type?"""
    return family.get("model_type") in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES


def config_of_family(family: dict[str, JsonValue], directory: Path) -> CausalConfig:
    """Read a config.json as ours, and find out whether documents may be packed; ValueError where it is refused."""
    try:
        found = library_config(family)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{directory}/config.json is refused by transformers ({error}); fetch it again") from error
    context = getattr(found, "max_position_embeddings", None) or USUAL_CONTEXT
    shape = {"layers": found.num_hidden_layers, "width": found.hidden_size, "heads": 1, "vocabulary": found.vocab_size}
    config = CausalConfig.model_validate(shape | {"from": str(directory), "row_tokens": context, "family": family})
    return config.model_copy(update={"packed": keeps_apart(config), "start": None})


@lru_cache(maxsize=8)
def parameters_of(key: str) -> dict[str, Parameter]:
    """Look at the library's module, built without memory."""
    with torch.device("meta"):
        model: Any = build_model(json.loads(key))
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


def prefix_of(key: str) -> str:
    """What stands before the names of the body in a module that has a head, and not in an older folder."""
    kind = type(transformers.AutoConfig.for_model(json.loads(key)["model_type"]))
    model = transformers.MODEL_FOR_CAUSAL_LM_MAPPING[kind]
    return f"{model.base_model_prefix}."
