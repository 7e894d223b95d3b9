"""Does our decoder say what each family's own module says, packed and alone, and does it go back as it came?"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from models.config import ModelConfig
from models.kinds.building import load_weights
from models.kinds.exchange.families import config_json, family_of
from models.kinds.exchange.folder import read_folder
from models.kinds.exchange.reading import config_of
from models.kinds.exchange.writing import write_folder
from models.kinds.kind import Handover, Precision, Pretrained
from models.kinds.transformer import Transformer
from models.rope import RopeConfig

VOCAB = 97
TOLERANCE = 1e-5  # relative to the largest logit, in float32
SHAPE = {"vocab_size": VOCAB, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "pad_token_id": 0}
SHAPE |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128}
LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"original_max_position_embeddings": 16}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 32}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama 2": ("Llama", {}),
    "llama 3, tied": ("Llama", {"rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    "llama, linear": ("Llama", {"rope_parameters": LINEAR}),
    "llama, yarn": ("Llama", {"rope_parameters": YARN}),
    "llama, biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "smollm 2": ("Llama", {"tie_word_embeddings": True, "num_attention_heads": 3, "num_key_value_heads": 1}),
    "smollm 3": ("SmolLM3", {"num_hidden_layers": 5}),
    "mistral, window": ("Mistral", {"sliding_window": 8}),
    "mistral, head width": ("Mistral", {"sliding_window": None, "head_dim": 16}),
    "qwen 2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen 2, window": (
        "Qwen2",
        {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1, "rope_parameters": YARN},
    ),
    "qwen 3": ("Qwen3", {"head_dim": 16}),
    "olmo 2": ("Olmo2", {}),
    "olmo 3": ("Olmo3", {"sliding_window": 8, "num_hidden_layers": 5}),
}


def saved(case: str, directory: Path) -> Any:
    """A random model of a family, as transformers build and save it, with weights that are large enough to matter."""
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    family, changes = CASES[case]
    config = getattr(transformers, f"{family}Config")(**(SHAPE | changes))
    config._attn_implementation = "eager"
    torch.manual_seed(7)
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * (0.3 if parameter.ndim == 1 else 0.15))
    model.save_pretrained(directory)
    return model


def built(pretrained: Pretrained) -> Transformer:
    model = Transformer(pretrained.config, pretrained.vocab_size)
    load_weights(model, {name: weight.float() for name, weight in pretrained.weights.items()})
    return model.eval()


def logits(model: Transformer, tokens: torch.Tensor, segments: torch.Tensor | None = None) -> torch.Tensor:
    return model.head.logits(model(tokens, segments))[..., :VOCAB]


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_a_family_gives_the_logits_of_its_own_module(case: str, tmp_path: Path) -> None:
    theirs, tokens = saved(case, tmp_path), torch.randint(0, VOCAB, (2, 40))
    ours = built(read_folder(tmp_path))
    assert difference(logits(ours, tokens), theirs(tokens).logits) < TOLERANCE
    segments = (torch.arange(40) >= 17).int().expand(2, -1).contiguous()
    alone = torch.cat([theirs(part).logits for part in (tokens[:, :17], tokens[:, 17:])], dim=1)
    assert difference(logits(ours, tokens, segments), alone) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("precision", list(Precision))
@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_a_family_leaves_in_its_own_layout_and_comes_back_bit_for_bit(
    case: str, precision: Precision, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    model = saved(case, tmp_path / "given")
    first = read_folder(tmp_path / "given")
    handover = Handover('{"added_tokens": [{"id": 0, "content": "<|document|>"}]}', 0, precision)
    write_folder(first, handover, tmp_path / "left")
    assert family_of(first.config) == (
        "llama"
        if case == "mistral, head width"
        else json.loads((tmp_path / "given/config.json").read_text())["model_type"]
    )
    again = read_folder(tmp_path / "left")
    assert again.config.model_copy(update={"init_std": 0.02}) == first.config.model_copy(update={"init_std": 0.02})
    kept = torch.float32 if precision == Precision.FP32 else torch.bfloat16
    for name, weight in first.weights.items():
        assert torch.equal(again.weights[name], weight.to(kept)), name
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "left", local_files_only=True)
    assert loaded.dtype == kept
    for name, parameter in loaded.named_parameters():
        assert torch.equal(parameter, model.get_parameter(name).to(kept)), name
    if precision == Precision.FP32:
        tokens = torch.randint(0, VOCAB, (2, 40))
        assert difference(loaded(tokens).logits, model(tokens).logits) < TOLERANCE


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(),
        ModelConfig(biases="all", rope=RopeConfig(kind="linear", factor=2)),
        ModelConfig(window=64),
        ModelConfig(biases="qkv", layers=2, window=64, layer_kinds=("full", "window")),
        ModelConfig(qk_norm="head", head_width=64),
        ModelConfig(qk_norm="full", norm_at="after"),
        ModelConfig(qk_norm="full", norm_at="after", layers=2, window=8, layer_kinds=("window", "full")),
        ModelConfig(layers=2, layer_kinds=("full", "nope"), rope=RopeConfig(factor=8, original_tokens=64)),
    ],
)
def test_a_configuration_comes_back_from_its_config_json(config: ModelConfig) -> None:
    back = config_of(config_json(config, 100), Path("there"))
    assert back.model_copy(update={"vocabulary": None, "kv_heads": None, "ffn_width": None}) == config
    assert (back.kv, back.ffn, back.vocabulary) == (config.kv, config.ffn, 100)


def test_switches_that_no_family_has_are_refused_at_export() -> None:
    with pytest.raises(ValueError, match=r"model\.qk_norm=head.*no family that transformers know; train"):
        family_of(ModelConfig(qk_norm="head", norm_at="after"))
