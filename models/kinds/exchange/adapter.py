"""How do adapters leave, without the weights that they stand beside? As a folder that peft loads.

Its names are those of the family's own modules, so that whoever has the base model in Hugging Face's layout puts the
adapters on it: `PeftModel.from_pretrained(base, folder)`. Written by hand: leaving needs no peft.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue
from torch import Tensor

from models.config import ModelConfig
from models.kinds.exchange.writing import DTYPES, Leaving, write_shard
from models.kinds.kind import Precision
from models.kinds.kinds import kind_of
from models.kinds.partial import MATRICES, module_of, targets_of

WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"


def write_adapter(config: ModelConfig, adapters: Mapping[str, Tensor], precision: Precision, directory: Path) -> None:
    """Write the adapters of a run that trains them; ValueError for one that does not.

    adapters: its own weights, by our names.
    """
    if config.lora is None:
        raise ValueError(f"it has no adapters (model.lora={config.lora}); leave --adapter out")
    targets = targets_of(config.lora, kind_of(config).parameters(config, config.tokens_of(1)))
    entries = []
    for name, found in targets.items():
        for which in MATRICES:
            ours = f"{module_of(name)}.{which}.weight"
            theirs = f"base_model.model.{module_of(found.theirs)}.{which}.weight"
            shape = tuple(adapters[ours].shape)
            entries.append(Leaving(theirs, ours, shape, math.prod(shape) * DTYPES[precision][2].itemsize))
    modules: list[JsonValue] = [module_of(found.theirs) for found in targets.values()]
    settings: dict[str, JsonValue] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": config.start,
        "r": config.lora.rank,
        "lora_alpha": config.lora.alpha,
        "lora_dropout": config.lora.dropout,
        "target_modules": modules,
        "fan_in_fan_out": any(found.transposed for found in targets.values()),
        "bias": "none",
        "inference_mode": True,
    }
    directory.mkdir(parents=True, exist_ok=True)
    write_shard(adapters, sorted(entries), precision, directory / WEIGHTS)
    (directory / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
