"""Which configuration of ours is a folder's config.json?

What a family does beyond a Llama becomes switches of our configuration; what no switch does is refused rather than
ignored, because it would change the logits.
"""

from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from cluster.extensions import configured
from models.config import LayerKind, ModelConfig
from models.kinds.exchange.families import FAMILIES, WINDOWED
from models.rope import RopeConfig

#: Keys that must have this value where they are there; another would change what the model computes.
MUST_BE: dict[str, JsonValue] = {"hidden_act": "silu", "quantization_config": None, "partial_rotary_factor": 1.0}
MUST_BE |= {"clip_qkv": None, "pretraining_tp": 1}
ROPE_KEYS = {"rope_type", "type", "rope_theta", "factor", "original_max_position_embeddings", "low_freq_factor"}
ROPE_KEYS |= {"high_freq_factor", "beta_fast", "beta_slow", "attention_factor", "partial_rotary_factor", "truncate"}


def config_of(theirs: Mapping[str, JsonValue], directory: Path) -> ModelConfig:
    """Read a config.json as ours; ValueError for a family or a setting that our decoder cannot do, or a key too few."""
    kind = str(theirs.get("model_type"))
    if "auto_map" in theirs:
        raise ValueError(
            f"{directory} brings code of its own (auto_map in its config.json), which is never run; choose a "
            f"checkpoint of one of {', '.join(FAMILIES)}"
        )
    if kind not in FAMILIES:
        raise ValueError(
            f"{directory} has model_type={kind}; choose a checkpoint of one of {', '.join(FAMILIES)}, or let "
            "transformers compute it: model.kind=transformers, or model.kind=encoder of one that fills masks (BERT)"
        )
    for key, wanted in MUST_BE.items():
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


def _switches(kind: str, theirs: Mapping[str, JsonValue], directory: Path) -> dict[str, object]:
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


def _layer_kinds(kind: str, theirs: Mapping[str, JsonValue], layers: int) -> tuple[LayerKind, ...]:
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


def _rope(theirs: Mapping[str, JsonValue], directory: Path) -> tuple[object, RopeConfig | None]:
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


def _count(theirs: Mapping[str, JsonValue], name: str, absent: int) -> int:
    value = theirs.get(name)
    if value is None:
        return absent
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"config.json has {name}={_short(value)}, which is no number of things; fetch it again")
    return value


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:40] + "..."
