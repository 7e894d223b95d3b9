"""Which switches of our decoder make it a Llama, a Mistral, a Qwen, an OLMo or a SmolLM, and back?

A family is known by `model_type` in its config.json. What a family does beyond a Llama becomes switches of our
configuration; what none of our switches does is refused rather than ignored, for it would change the logits. Back, a
configuration says by its switches which family it is: the first that can hold all of them.
"""

from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from cluster.extensions import configured
from models.config import LayerKind, ModelConfig
from models.rope import RopeConfig

Json = Mapping[str, JsonValue]

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
#: Keys that must have this value where they are there; another would change what the model computes.
FIXED: dict[str, JsonValue] = {"hidden_act": "silu", "quantization_config": None, "partial_rotary_factor": 1.0}
FIXED |= {"clip_qkv": None, "pretraining_tp": 1}
ROPE_KEYS = {"rope_type", "type", "rope_theta", "factor", "original_max_position_embeddings", "low_freq_factor"}
ROPE_KEYS |= {"high_freq_factor", "beta_fast", "beta_slow", "attention_factor", "partial_rotary_factor", "truncate"}


def config_of(theirs: Json, directory: Path) -> ModelConfig:
    """Read a config.json as ours; ValueError for a family or a setting that our decoder cannot do, or a key too few."""
    kind = str(theirs.get("model_type"))
    if "auto_map" in theirs:
        raise ValueError(
            f"{directory} brings code of its own (auto_map in its config.json), which is never run; choose a "
            f"checkpoint of one of {', '.join(FAMILIES)}"
        )
    if kind not in FAMILIES:
        raise ValueError(f"{directory} has model_type={kind}; choose a checkpoint of one of {', '.join(FAMILIES)}")
    for key, wanted in FIXED.items():
        if (value := theirs.get(key, wanted)) != wanted:
            raise ValueError(
                f"{directory} has {key}={_short(value)}, only {wanted} is supported; choose another checkpoint"
            )
    ours: dict[str, object] = dict(FAMILIES[kind][1])
    ours |= _switches(kind, theirs, directory)
    names = {"layers": "num_hidden_layers", "width": "hidden_size", "heads": "num_attention_heads"}
    names |= {"row_tokens": "max_position_embeddings", "ffn_width": "intermediate_size", "vocabulary": "vocab_size"}
    for key, name in (names | {"norm_eps": "rms_norm_eps"}).items():
        if name not in theirs:
            raise ValueError(f"{directory}/config.json has no {name}; fetch that file again, whole")
        ours[key] = theirs[name]
    ours["kv_heads"] = theirs.get("num_key_value_heads")
    ours["tie_embeddings"] = theirs.get("tie_word_embeddings", False)
    ours["init_std"] = theirs.get("initializer_range", 0.02)
    plain = _count(theirs, "hidden_size", 0) // max(1, _count(theirs, "num_attention_heads", 1))
    ours["head_width"] = None if _count(theirs, "head_dim", plain) == plain else theirs["head_dim"]
    return configured(ModelConfig, f"{directory}/config.json", ours)


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


def _switches(kind: str, theirs: Json, directory: Path) -> dict[str, object]:
    """Read what is beyond the shape of a Llama."""
    theta, rope = _rope(theirs, directory)
    found: dict[str, object] = {"rope_theta": theta, "rope": rope}
    if theirs.get("attention_bias"):
        if kind not in ("llama", "smollm3"):
            raise ValueError(
                f"{directory} has attention_bias=true, which {kind} has not here; choose another checkpoint"
            )
        found["biases"] = "all" if theirs.get("mlp_bias") else "attention"
    elif theirs.get("mlp_bias"):
        raise ValueError(f"{directory} has mlp_bias without attention_bias; choose another checkpoint")
    layers = _count(theirs, "num_hidden_layers", 0)
    kinds = _layer_kinds(kind, theirs, layers)
    if "window" in kinds:
        found["window"] = theirs.get("sliding_window")
    if set(kinds) not in ({"full"}, {"window"}):
        found["layer_kinds"] = kinds
    return found


def _layer_kinds(kind: str, theirs: Json, layers: int) -> tuple[LayerKind, ...]:
    if kind not in WINDOWED or not theirs.get("sliding_window"):
        kinds: list[LayerKind] = ["full"] * layers
    elif isinstance(listed := theirs.get("layer_types"), list):
        kinds = ["window" if one == "sliding_attention" else "full" for one in listed]
    elif kind == "mistral":
        kinds = ["window"] * layers
    elif kind == "olmo3":
        kinds = ["full" if (index + 1) % 4 == 0 else "window" for index in range(layers)]
    else:
        first = _count(theirs, "max_window_layers", 28) if theirs.get("use_sliding_window") else layers
        kinds = ["window" if index >= first else "full" for index in range(layers)]
    if kind == "smollm3":
        every = _count(theirs, "no_rope_layer_interval", 4)
        with_rope = theirs.get("no_rope_layers")
        if not isinstance(with_rope, list):
            with_rope = [int((index + 1) % every != 0) for index in range(layers)]
        kinds = [kinds[index] if turns else "nope" for index, turns in enumerate(with_rope)]
    return tuple(kinds)


def _rope(theirs: Json, directory: Path) -> tuple[object, RopeConfig | None]:
    """Read the base of the rotary frequencies and their scaling, in the layout of transformers 4 or 5."""
    given: object = theirs.get("rope_parameters") or theirs.get("rope_scaling") or {}
    if isinstance(given, dict) and given and all(isinstance(value, dict) for value in given.values()):
        each = list(given.values())
        if any(value != each[0] for value in each):
            raise ValueError(f"{directory} scales positions of layers differently; choose another checkpoint")
        given = each[0]
    if not isinstance(given, dict):
        raise ValueError(f"{directory}/config.json has rope_parameters={_short(given)}; fetch that file again")
    theta = given.get("rope_theta") or theirs.get("rope_theta") or 10000.0
    kind = given.get("rope_type") or given.get("type") or "default"
    odd = sorted(given.keys() - ROPE_KEYS)
    if kind not in ("default", "linear", "llama3", "yarn") or odd or given.get("truncate") is False:
        what = f"rope scaling={_short(kind)}" + (f" with {odd[0]}" if odd else "")
        raise ValueError(
            f"{directory} has {what}, only linear, llama3 and yarn are supported; choose another checkpoint"
        )
    if given.get("partial_rotary_factor", 1.0) != 1.0:
        raise ValueError(f"{directory} turns only a part of each head; choose another checkpoint")
    if kind == "default":
        return theta, None
    names = ("factor", "low_freq_factor", "high_freq_factor", "beta_fast", "beta_slow", "attention_factor")
    ours = {"kind": kind} | {name: given[name] for name in names if given.get(name) is not None}
    if kind != "linear":
        ours["original_tokens"] = given.get("original_max_position_embeddings") or theirs.get("max_position_embeddings")
    return theta, configured(RopeConfig, f"{directory}/config.json, rope scaling", ours)


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


def _count(theirs: Json, name: str, absent: int) -> int:
    value = theirs.get(name)
    if value is None:
        return absent
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"config.json has {name}={_short(value)}, which is no number of things; fetch it again")
    return value


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:40] + "..."
