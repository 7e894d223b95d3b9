"""How does a model leave for the Hugging Face world?

As a folder that `AutoModelForCausalLM` and `AutoTokenizer` load offline, in the layout of its family: config.json,
safetensors without the vocabulary's padding, tokenizer and generation settings. A run that began with such a folder
gives back that folder's own files, and only what training changed is new. One tensor at a time is in memory.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from pydantic import JsonValue
from torch import Tensor

from models.kinds.exchange.families import config_json
from models.kinds.exchange.folder import INDEX
from models.kinds.exchange.names import their_name
from models.kinds.kind import Handover, Precision, Pretrained
from models.kinds.shapes import Extent, parameter_shapes

SHARD_BYTES = 5 * 10**9
DTYPES = {
    Precision.FP32: ("F32", "float32", torch.float32),
    Precision.BF16: ("BF16", "bfloat16", torch.bfloat16),
}


class Leaving(NamedTuple):
    """A tensor that is to be written."""

    theirs: str
    ours: str
    shape: Extent
    size_bytes: int


class FolderLayout(NamedTuple):
    """How a family keeps a model: its config.json, and for each of our parameters its name there and its shape."""

    config: dict[str, JsonValue]
    tensors: dict[str, tuple[str, Extent]]


def write_folder(model: Pretrained, handover: Handover, directory: Path, shard_bytes: int = SHARD_BYTES) -> None:
    """Write a decoder's folder from full weights by our names."""
    shapes = parameter_shapes(model.config, model.vocab_size)
    tensors = {ours: (their_name(ours, model.config), shape) for ours, shape in shapes.items()}
    layout = FolderLayout(config_json(model.config, model.vocab_size), tensors)
    write_files(model, layout, handover, directory, shard_bytes)


def write_files(
    model: Pretrained, layout: FolderLayout, handover: Handover, directory: Path, shard_bytes: int = SHARD_BYTES
) -> None:
    """Write a folder in a family's layout.

    The document token becomes begin and end of text, unless the run began with a folder that says otherwise: a document
    starts with it and predicts it at its end.
    """
    token = _token_text(handover.tokenizer_json, handover.document_token)
    config = _config(model, layout.config, handover)
    directory.mkdir(parents=True, exist_ok=True)
    given = handover.files
    for name, content in given.items():
        if name != "config.json":
            (directory / name).write_bytes(content)
    _write_json(directory / "config.json", config)
    if "generation_config.json" not in given:
        special = {key: value for key, value in config.items() if key.endswith("_token_id")}
        _write_json(directory / "generation_config.json", special | {"do_sample": True})
    if "tokenizer.json" not in given:
        (directory / "tokenizer.json").write_text(handover.tokenizer_json, encoding="utf-8")
    if "tokenizer_config.json" not in given:
        tokenizer: dict[str, JsonValue] = {"tokenizer_class": "PreTrainedTokenizerFast"}
        tokenizer |= {"model_max_length": model.config.row_tokens, "padding_side": "left"}
        tokenizer |= dict.fromkeys(("bos_token", "eos_token", "pad_token"), token)
        _write_json(directory / "tokenizer_config.json", tokenizer | {"clean_up_tokenization_spaces": False})
    entries = [
        Leaving(theirs, ours, shape, math.prod(shape) * DTYPES[handover.precision][2].itemsize)
        for ours, (theirs, shape) in layout.tensors.items()
    ]
    _write_weights(model.weights, list(_shards(sorted(entries), shard_bytes)), handover.precision, directory)


def _config(model: Pretrained, ours: dict[str, JsonValue], handover: Handover) -> dict[str, JsonValue]:
    """The config.json: of the folder that the run began with, with what may have changed; else of the family."""
    dtype = DTYPES[handover.precision][1]
    if "config.json" not in handover.files:
        special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), handover.document_token)
        return ours | special | {"torch_dtype": dtype}
    theirs: dict[str, JsonValue] = json.loads(handover.files["config.json"])
    kept = {key: value for key, value in theirs.items() if key != "dtype"}
    if int(str(theirs.get("max_position_embeddings", model.config.row_tokens))) < model.config.row_tokens:
        kept["max_position_embeddings"] = model.config.row_tokens
        kept.pop("rope_parameters", None)
        kept |= {key: ours[key] for key in ("rope_theta", "rope_scaling") if key in ours}
    return kept | {"vocab_size": model.vocab_size, "torch_dtype": dtype}


def _write_weights(
    weights: Mapping[str, Tensor], shards: list[list[Leaving]], precision: Precision, directory: Path
) -> None:
    if len(shards) == 1:
        write_shard(weights, shards[0], precision, directory / "model.safetensors")
        return
    places: dict[str, JsonValue] = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_shard(weights, shard, precision, directory / file)
        places |= {entry.theirs: file for entry in shard}
    total = sum(entry.size_bytes for shard in shards for entry in shard)
    _write_json(directory / INDEX, {"metadata": {"total_size": total}, "weight_map": places})


def _shards(entries: Iterable[Leaving], shard_bytes: int) -> Iterator[list[Leaving]]:
    """Share the tensors out over files, in their order."""
    shard, held = list[Leaving](), 0
    for entry in entries:
        if shard and held + entry.size_bytes > shard_bytes:
            yield shard
            shard, held = [], 0
        shard.append(entry)
        held += entry.size_bytes
    yield shard


def write_shard(weights: Mapping[str, Tensor], shard: list[Leaving], precision: Precision, path: Path) -> None:
    """Write one safetensors file, a tensor at a time."""
    code, _, dtype = DTYPES[precision]
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for entry in shard:
        header[entry.theirs] = {"dtype": code, "shape": entry.shape, "data_offsets": [end, end + entry.size_bytes]}
        end += entry.size_bytes
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for entry in shard:
            weight = weights[entry.ours][: entry.shape[0]].detach().to(dtype).contiguous()
            file.write(weight.reshape(-1).view(torch.uint8).numpy().data)


def _token_text(tokenizer_json: str, document_token: int) -> str:
    added = {entry["id"]: entry["content"] for entry in json.loads(tokenizer_json).get("added_tokens", [])}
    if document_token not in added:
        raise ValueError(f"document_token={document_token} is no special token; the tokenizer has {sorted(added)}")
    return str(added[document_token])


def _write_json(path: Path, value: Mapping[str, JsonValue]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
