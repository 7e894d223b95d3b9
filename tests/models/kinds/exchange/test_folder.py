"""Is what is wrong with a folder told in a sentence, with the mend, from headers alone?"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models.config import ModelConfig
from models.kinds.exchange.folder import read_folder
from models.kinds.exchange.writing import write_folder
from models.kinds.kind import Handover, Precision
from tests.support.folders import DOCUMENT, JSON, folder_of

FIRST_SHARD = "model-00001-of-0000"


def change_config(**values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def lose_a_shard(folder: Path) -> None:
    next(folder.glob(f"{FIRST_SHARD}*")).unlink()


def cut_a_shard(folder: Path) -> None:
    shard = next(folder.glob(f"{FIRST_SHARD}*"))
    shard.write_bytes(shard.read_bytes()[:-8])


def only(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for path in folder.glob("model*"):
            path.unlink()
        (folder / name).write_bytes(b"x")

    return change


def point_outside(folder: Path) -> None:
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["model.norm.weight"] = "../outside.safetensors"
    path.write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lose_a_shard, r"lacks model-00001-of-0000\d\.safetensors \(1 of \d files\); fetch all"),
        (cut_a_shard, r"model-00001.* cannot be read as safetensors .* within the file; it is cut short\); fetch"),
        (
            only("pytorch_model.bin"),
            r"as \*\.bin \(pickles, which may run code .*\) and not as safetensors; convert it",
        ),
        (only("model.Q4_1.gguf"), "holds a GGUF file, whose weights are rounded; take the safetensors"),
        (only("model.txt"), r"holds no \*\.safetensors; fetch all its files"),
        (change_config(num_hidden_layers=3), r"lacks model\.layers\.2\.input_layernorm\.weight, which its config"),
        (change_config(num_hidden_layers=1), r"has model\.layers\.1\..*, which a llama has not \(9 such names\)"),
        (
            change_config(vocab_size=300),
            r"embed_tokens\.weight of .* is \[257, 48\], its config\.json says \[300, 48\]",
        ),
        (change_config(model_type="qwen3"), r"lacks model\.layers\.0\.self_attn\.q_norm\.weight"),
        (point_outside, "has no weight_map of file names; fetch it again"),
        (lambda folder: (folder / "config.json").unlink(), "config.json cannot be read .*; give a Hugging Face folder"),
        (lambda folder: (folder / "config.json").write_text("["), r"config\.json is no JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), r"config\.json holds no keys and values"),
    ],
)
def test_a_spoilt_folder_is_refused(spoil: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    folder_of(tmp_path, shard_bytes=40_000)
    spoil(tmp_path)
    with pytest.raises(ValueError, match=words) as refusal:
        read_folder(tmp_path)
    assert "\n" not in str(refusal.value)


def test_a_tensor_is_read_in_the_precision_it_is_kept_in(tmp_path: Path) -> None:
    folder_of(tmp_path / "whole")
    write_folder(read_folder(tmp_path / "whole"), Handover(JSON, DOCUMENT, Precision.BF16), tmp_path / "half")
    whole, half = read_folder(tmp_path / "whole").weights, read_folder(tmp_path / "half").weights
    for name, weight in whole.items():
        assert half[name].dtype == torch.bfloat16
        assert torch.equal(half[name], weight.bfloat16())


def test_tables_are_padded_with_zeros(tmp_path: Path) -> None:
    folder_of(tmp_path, ModelConfig(layers=1, width=16, heads=2), vocab_size=257)
    table = read_folder(tmp_path).weights["embed.weight"]
    assert table.shape == (320, 16)
    assert table[:257].abs().sum() > 0
    assert not table[257:].any()


def test_buffers_that_older_versions_saved_are_passed_over(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder_of(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(6)
    save_file(tensors, tmp_path / "model.safetensors")
    assert "embed.weight" in read_folder(tmp_path).weights
