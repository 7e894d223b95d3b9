"""Adapters that left alone give, on their base and through peft, the logits of the merged model."""

import json
import os
from pathlib import Path

import pytest
import torch

from models.config import ModelConfig
from models.engine.weights import MergedWeights
from models.kinds.building import build
from models.kinds.exchange.adapter import write_adapter
from models.kinds.exchange.folder import read_folder
from models.kinds.kind import Precision
from models.kinds.kinds import kind_of
from models.kinds.partial import adapter_shapes
from tests.support.folders import folder_of
from tests.support.imports.late import late

os.environ["HF_HUB_OFFLINE"] = "1"
peft = late("peft")
transformers = late("transformers")

SHAPE = {"layers": 2, "width": 48, "heads": 4, "kv_heads": 2, "row_tokens": 64, "qk_norm": "head", "from": "./base"}
LORA = {"rank": 4, "alpha": 12, "targets": ["q_proj", "o_proj", "down_proj"]}


def adapters_of(config: ModelConfig) -> dict[str, torch.Tensor]:
    """Draw both matrices of each adapter, so that their product matters."""
    assert config.lora is not None
    generator = torch.Generator().manual_seed(3)
    shapes = adapter_shapes(config.lora, kind_of(config).parameters(config, 256))
    return {name: torch.randn(shape, generator=generator) * 0.3 for name, shape in shapes.items()}


@pytest.mark.slow
def test_peft_loads_what_left(tmp_path: Path) -> None:
    config = ModelConfig.model_validate(SHAPE | {"lora": LORA})
    folder_of(tmp_path / "base", config.whole)
    adapters, base = adapters_of(config), read_folder(tmp_path / "base")
    write_adapter(config, adapters, Precision.FP32, tmp_path / "adapter")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    tokens = torch.arange(5, 45)[None]
    with torch.no_grad():
        before = theirs(tokens).logits.clone()
        loaded = peft.PeftModel.from_pretrained(theirs, tmp_path / "adapter").eval()
        after = loaded(tokens).logits
    weights = MergedWeights(base.weights, adapters, config)
    ours = build(config.whole, base.vocab_size, None, weights).eval()
    with torch.no_grad():
        logits = ours.head.logits(ours(tokens))[..., : base.vocab_size]
    torch.testing.assert_close(logits, after, rtol=1e-4, atol=1e-5 * float(after.abs().max()))
    assert (before - after).abs().max() > 0.05 * after.abs().max(), "the adapters change what it says"
    assert json.loads((tmp_path / "adapter/adapter_config.json").read_text())["base_model_name_or_path"] == "./base"


def test_a_run_that_trained_all_weights_has_no_adapters(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"it has no adapters .*leave --adapter out"):
        write_adapter(ModelConfig.model_validate(SHAPE), {}, Precision.FP32, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()
