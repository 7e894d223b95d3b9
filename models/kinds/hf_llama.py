"""How does a model leave for, and come from, the Hugging Face world?

`export` writes a directory that `AutoModelForCausalLM` and `AutoTokenizer` load offline: the Llama
architecture, float32 weights without the vocabulary's padding, a fast tokenizer. `import_llama` reads such a
directory back, so that training can start from any Llama-family checkpoint without biases. Neither needs
transformers, and neither pickles. Rotary scaling (Llama 3.1 and later) is refused rather than ignored: it
would change the logits.
"""

import json
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from models.config import ModelConfig
from models.kinds.kind import Pretrained
from models.size import padded_vocab

SHARD_BYTES = 5 * 10**9
NAMES = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


def export(
    model: Pretrained,
    tokenizer_json: str,
    document_token: int,
    directory: Path,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write a Hugging Face Llama directory from full weights, as `checkpoint.read_full_weights` gives them.

    The document token becomes begin and end of text: a document starts with it and predicts it at its end.
    """
    directory.mkdir(parents=True, exist_ok=True)
    config, vocab_size = model.config, model.vocab_size
    renamed = {}
    for name, weight in model.weights.items():
        theirs = their_name(name)
        table = theirs in ("model.embed_tokens.weight", "lm_head.weight")
        renamed[theirs] = weight[:vocab_size].contiguous() if table else weight.contiguous()
    shards = _write_shards(renamed, directory, shard_bytes)
    token = _token_text(tokenizer_json, document_token)
    special = {"bos_token_id": document_token, "eos_token_id": document_token, "pad_token_id": document_token}
    _write_json(directory / "config.json", llama_config(config, vocab_size) | special)
    for shard in shards:  # safetensors writes for the owner alone, whatever the umask says
        shard.chmod(stat.S_IMODE((directory / "config.json").stat().st_mode))
    _write_json(directory / "generation_config.json", special | {"do_sample": True})
    (directory / "tokenizer.json").write_text(tokenizer_json, encoding="utf-8")
    tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": config.row_tokens}
    tokenizer |= dict.fromkeys(("bos_token", "eos_token", "pad_token"), token) | {"padding_side": "left"}
    _write_json(directory / "tokenizer_config.json", tokenizer | {"clean_up_tokenization_spaces": False})


def import_llama(directory: Path) -> Pretrained:
    """Read a Llama-family directory."""
    theirs = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    config = _our_config(theirs, directory)
    ours = {their_name(name): name for name in _parameter_names(config)}
    weights: dict[str, Tensor] = {}
    for path in sorted(directory.glob("*.safetensors")):
        with safe_open(path, framework="pt", device="cpu") as file:
            weights |= {ours[name]: file.get_tensor(name).float() for name in file.keys() if name in ours}  # noqa: SIM118
    missing = sorted(set(ours.values()) - weights.keys())
    if missing:
        raise ValueError(f"{directory} lacks {missing[0]} and {len(missing) - 1} more; fetch all its files")
    vocab_size = int(theirs["vocab_size"])
    for table in {"embed.weight", "head.weight"} & weights.keys():
        unpadded = weights[table]
        weights[table] = torch.zeros(padded_vocab(vocab_size), config.width)
        weights[table][:vocab_size] = unpadded[:vocab_size]
    return Pretrained(config, vocab_size, weights)


def their_name(name: str) -> str:
    """Translate a parameter's name.

    >>> their_name("layers.3.gate.weight"), their_name("norm.weight")
    ('model.layers.3.mlp.gate_proj.weight', 'model.norm.weight')
    """
    if name.startswith("layers."):
        _, index, part, leaf = name.split(".")
        return f"model.layers.{index}.{NAMES[part]}.{leaf}"
    return {
        "embed.weight": "model.embed_tokens.weight",
        "head.weight": "lm_head.weight",
        "norm.weight": "model.norm.weight",
    }[name]


def llama_config(config: ModelConfig, vocab_size: int) -> dict[str, Any]:
    """Return the `config.json` of a LlamaForCausalLM."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocab_size,
        "hidden_size": config.width,
        "intermediate_size": config.ffn,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv,
        "head_dim": config.width // config.heads,
        "hidden_act": "silu",
        "max_position_embeddings": config.row_tokens,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "initializer_range": config.init_std,
        "tie_word_embeddings": config.tie_embeddings,
        "attention_bias": False,
        "mlp_bias": False,
        "torch_dtype": "float32",
    }


def _our_config(theirs: dict[str, Any], directory: Path) -> ModelConfig:
    rope = theirs.get("rope_parameters") or theirs.get("rope_scaling") or {}
    scaling = rope.get("rope_type", rope.get("type", "default"))
    heads, width = theirs["num_attention_heads"], theirs["hidden_size"]
    refused = {
        "model_type": (theirs.get("model_type"), "llama"),
        "rope scaling": (scaling, "default"),
        "hidden_act": (theirs.get("hidden_act", "silu"), "silu"),
        "attention_bias": (bool(theirs.get("attention_bias")), False),
        "head_dim": (theirs.get("head_dim") or width // heads, width // heads),
    }
    for key, (value, wanted) in refused.items():
        if value != wanted:
            raise ValueError(f"{directory} has {key}={value}, only {wanted} is supported; choose another checkpoint")
    ours = {
        "layers": theirs["num_hidden_layers"],
        "width": width,
        "heads": heads,
        "kv_heads": theirs.get("num_key_value_heads"),
        "row_tokens": theirs["max_position_embeddings"],
        "ffn_width": theirs["intermediate_size"],
        "rope_theta": rope.get("rope_theta", theirs.get("rope_theta", 10000.0)),
        "norm_eps": theirs["rms_norm_eps"],
        "tie_embeddings": theirs.get("tie_word_embeddings", False),
        "init_std": theirs.get("initializer_range", 0.02),
    }
    return ModelConfig.model_validate(ours)


def _parameter_names(config: ModelConfig) -> Iterable[str]:
    yield from ("embed.weight", "norm.weight", *(() if config.tie_embeddings else ("head.weight",)))
    for index in range(config.layers):
        yield from (f"layers.{index}.{part}.weight" for part in NAMES)


def _token_text(tokenizer_json: str, document_token: int) -> str:
    added = {entry["id"]: entry["content"] for entry in json.loads(tokenizer_json).get("added_tokens", [])}
    if document_token not in added:
        raise ValueError(f"document_token={document_token} is no special token; the tokenizer has {sorted(added)}")
    return str(added[document_token])


def _write_shards(weights: dict[str, Tensor], directory: Path, shard_bytes: int) -> list[Path]:
    shards: list[dict[str, Tensor]] = [{}]
    room = shard_bytes
    for name in sorted(weights):
        if shards[-1] and weights[name].nbytes > room:
            shards.append({})
            room = shard_bytes
        shards[-1][name] = weights[name]
        room -= weights[name].nbytes
    if len(shards) == 1:
        save_file(shards[0], directory / "model.safetensors", metadata={"format": "pt"})
        return [directory / "model.safetensors"]
    places: dict[str, str] = {}
    for index, shard in enumerate(shards, 1):
        file = f"model-{index:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, directory / file, metadata={"format": "pt"})
        places |= dict.fromkeys(shard, file)
    total = sum(weight.nbytes for weight in weights.values())
    _write_json(directory / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": places})
    return [directory / file for file in sorted(set(places.values()))]


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
