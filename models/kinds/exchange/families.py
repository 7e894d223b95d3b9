"""Which switches of our decoder make it a Llama, a Mistral, a Qwen, an OLMo or a SmolLM?

A family is known by `model_type` in its config.json. A configuration says by its switches which family it is: the first
that can hold all of them.
"""

from pydantic import JsonValue

from models.config import ModelConfig
from models.rope import RopeConfig

#: model_type -> (architecture, switches that every model of the family has)
FAMILIES: dict[str, tuple[str, dict[str, str]]] = {
    "llama": ("LlamaForCausalLM", {}),
    "mistral": ("MistralForCausalLM", {}),
    "qwen2": ("Qwen2ForCausalLM", {"biases": "qkv"}),
    "qwen3": ("Qwen3ForCausalLM", {"qk_norm": "head"}),
    "olmo2": ("Olmo2ForCausalLM", {"qk_norm": "full", "norm_at": "after"}),
    "olmo3": ("Olmo3ForCausalLM", {"qk_norm": "full", "norm_at": "after"}),
    "smollm3": ("SmolLM3ForCausalLM", {}),
}
WINDOWED = {"mistral", "qwen2", "qwen3", "olmo3", "smollm3"}  # families whose layers may see a window


def family_of(config: ModelConfig) -> str:
    """Name the family that a configuration's switches make.

    >>> family_of(ModelConfig()), family_of(ModelConfig(qk_norm="head"))
    ('llama', 'qwen3')
    """
    has_window, kinds = "window" in config.kinds, set(config.kinds)
    switches = {"biases": config.biases, "qk_norm": config.qk_norm, "norm_at": config.norm_at}
    plain = {"biases": "none", "qk_norm": "none", "norm_at": "before"}
    for name, (_, own) in FAMILIES.items():
        if name in ("llama", "smollm3") and config.biases in ("attention", "all"):
            own = own | {"biases": config.biases}
        fits = switches == plain | own and (name == "smollm3" or "nope" not in kinds)
        if name == "mistral":
            fits = fits and len(kinds) == 1
        if fits and (name in WINDOWED or not has_window):
            return name
    raise ValueError(
        f"{', '.join(f'model.{key}={value}' for key, value in switches.items())} with layers of kind {sorted(kinds)} "
        "are no family that transformers know; train one of its shapes to export it"
    )


def config_json(config: ModelConfig, vocab_size: int) -> dict[str, JsonValue]:
    """Return the config.json of a configuration's family."""
    kind = family_of(config)
    found: dict[str, JsonValue] = {
        "architectures": [FAMILIES[kind][0]],
        "model_type": kind,
        "vocab_size": vocab_size,
        "hidden_size": config.width,
        "intermediate_size": config.ffn,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv,
        "head_dim": config.head,
        "hidden_act": "silu",
        "max_position_embeddings": config.row_tokens,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "initializer_range": config.init_std,
        "tie_word_embeddings": config.tie_embeddings,
    }
    if kind in ("llama", "qwen3", "olmo2", "olmo3", "smollm3"):
        found["attention_bias"] = config.biases in ("attention", "all")
    if kind in ("llama", "smollm3"):
        found["mlp_bias"] = config.biases == "all"
    if config.rope is not None:
        found["rope_scaling"] = _rope_json(config.rope)
    if kind in WINDOWED:
        found |= _windows_json(kind, config)
    return found


def _rope_json(rope: RopeConfig) -> dict[str, JsonValue]:
    found: dict[str, JsonValue] = {"rope_type": rope.kind, "factor": rope.factor}
    if rope.kind != "linear":
        found["original_max_position_embeddings"] = rope.original_tokens
    if rope.kind == "llama3":
        found |= {"low_freq_factor": rope.low_freq_factor, "high_freq_factor": rope.high_freq_factor}
    if rope.kind == "yarn":
        found |= {"beta_fast": rope.beta_fast, "beta_slow": rope.beta_slow}
        found |= {} if rope.attention_factor is None else {"attention_factor": rope.attention_factor}
    return found


def _windows_json(kind: str, config: ModelConfig) -> dict[str, JsonValue]:
    found: dict[str, JsonValue] = {"sliding_window": config.window if "window" in config.kinds else None}
    if kind != "mistral":
        found["layer_types"] = ["sliding_attention" if one == "window" else "full_attention" for one in config.kinds]
    if kind in ("qwen2", "qwen3", "smollm3"):
        found["use_sliding_window"] = "window" in config.kinds
        found["max_window_layers"] = config.kinds.index("window") if "window" in config.kinds else config.layers
    if kind == "smollm3":
        found["no_rope_layers"] = [int(one != "nope") for one in config.kinds]
        found["no_rope_layer_interval"] = 4
    return found
