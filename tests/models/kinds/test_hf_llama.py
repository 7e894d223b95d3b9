"""Does an exported model say the same elsewhere, and come back the same?"""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from models.config import ModelConfig
from models.kinds import hf_llama as hf
from models.kinds.building import load_weights
from models.kinds.kind import Pretrained
from models.kinds.transformer import Transformer, initialise

CONFIG = ModelConfig(layers=2, width=48, heads=4, kv_heads=2, row_tokens=64, rope_theta=5000.0, norm_eps=1e-6)


def byte_tokenizer() -> tuple[str, int, int]:
    """Make a byte-level tokenizer: (JSON, document token, vocabulary size)."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|document|>"])
    return tokenizer.to_str(), tokenizer.token_to_id("<|document|>"), tokenizer.get_vocab_size()


JSON, DOCUMENT, VOCAB = byte_tokenizer()


def exported(directory: Path, tied: bool = True, **options: Any) -> tuple[Transformer, ModelConfig]:
    """Export a random model whose weights are large enough to matter."""
    config = CONFIG.model_copy(update={"tie_embeddings": tied})
    model = Transformer(config, VOCAB)
    initialise(model, 5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + torch.rand_like(parameter)).mul_(4 if parameter.ndim == 2 else 1)
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    hf.export(Pretrained(config, VOCAB, weights), JSON, DOCUMENT, directory, **options)
    return model, config


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
def test_transformers_computes_the_same_logits(tmp_path: Path, monkeypatch: Any, tied: bool) -> None:
    transformers = pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model, _ = exported(tmp_path, tied)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, local_files_only=True)
    assert theirs.dtype == torch.float32
    tokens = torch.randint(0, VOCAB, (3, 40))
    with torch.no_grad():
        ours = model.head.logits(model(tokens))[..., :VOCAB]
        torch.testing.assert_close(theirs(tokens).logits, ours, rtol=1e-4, atol=1e-4)
    assert theirs.generate(tokens[:1, :5], max_new_tokens=4, do_sample=False).shape[1] <= 9


@pytest.mark.slow
def test_transformers_tokenizes_the_same_and_knows_the_document_token(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    exported(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    text = "Grüße, world\n  🙂"
    ids = theirs(text, add_special_tokens=False)["input_ids"]
    assert ids == Tokenizer.from_str(JSON).encode(text).ids
    assert theirs.decode(ids) == text
    assert theirs.eos_token_id == theirs.bos_token_id == DOCUMENT


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shard_bytes", [hf.SHARD_BYTES, 40_000])
def test_a_model_comes_back_as_it_left(tmp_path: Path, tied: bool, shard_bytes: int) -> None:
    model, config = exported(tmp_path, tied, shard_bytes=shard_bytes)
    back, vocab_size, weights = hf.import_llama(tmp_path)
    assert vocab_size == VOCAB
    assert back.model_copy(update={"ffn_width": None}) == config
    assert back.ffn == config.ffn
    again = Transformer(back, vocab_size)
    load_weights(again, weights)
    tokens = torch.randint(0, VOCAB, (2, 20))
    with torch.no_grad():
        assert torch.equal(again.head.logits(again(tokens)), model.head.logits(model(tokens)))


def test_a_large_model_is_written_in_shards_with_an_index(tmp_path: Path) -> None:
    exported(tmp_path, shard_bytes=40_000)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    files = sorted(set(index["weight_map"].values()))
    assert len(files) > 1
    assert not (tmp_path / "model.safetensors").exists()
    names = [name for file in files for name in load_file(tmp_path / file)]
    assert sorted(names) == sorted(index["weight_map"])
    assert load_file(tmp_path / index["weight_map"]["model.embed_tokens.weight"])[
        "model.embed_tokens.weight"
    ].shape == (VOCAB, 48)


@pytest.mark.parametrize("shard_bytes", [hf.SHARD_BYTES, 40_000])
def test_weights_are_readable_by_whom_the_other_files_are(tmp_path: Path, shard_bytes: int) -> None:
    """A server often runs as another user."""
    for umask, mode in ((0o022, 0o644), (0o077, 0o600)):
        before = os.umask(umask)
        try:
            exported(tmp_path / f"{mode}", shard_bytes=shard_bytes)
        finally:
            os.umask(before)
        assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / f"{mode}").iterdir()} == {mode}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "rope scaling=llama3"),
        ({"model_type": "gpt2"}, "model_type=gpt2, only llama is supported"),
        ({"attention_bias": True}, "attention_bias=True"),
        ({"head_dim": 64}, "head_dim=64"),
    ],
)
def test_a_checkpoint_with_other_mathematics_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    exported(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ValueError, match=words):
        hf.import_llama(tmp_path)


def test_an_incomplete_directory_or_an_unknown_document_token_is_refused(tmp_path: Path) -> None:
    exported(tmp_path, shard_bytes=40_000)
    next(tmp_path.glob("model-00002*")).unlink()
    with pytest.raises(ValueError, match=r"lacks .* fetch all its files"):
        hf.import_llama(tmp_path)
    with pytest.raises(ValueError, match="document_token=3 is no special token"):
        hf.export(Pretrained(CONFIG, VOCAB, {}), JSON, 3, tmp_path / "other")
