"""Does an exported model say the same elsewhere, and come back the same?"""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from models.kinds.building import load_weights
from models.kinds.exchange.folder import read_folder
from models.kinds.exchange.writing import SHARD_BYTES, write_folder
from models.kinds.kind import Handover, Precision, Pretrained
from models.kinds.transformer import Transformer
from tests.support.folders import CONFIG, DOCUMENT, JSON, VOCAB, folder_of

TIED = [CONFIG, CONFIG.model_copy(update={"tie_embeddings": False})]


@pytest.mark.slow
@pytest.mark.parametrize("config", TIED)
def test_transformers_computes_the_same_logits(tmp_path: Path, monkeypatch: Any, config: Any) -> None:
    transformers = pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = folder_of(tmp_path, config)
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
    folder_of(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    text = "Grüße, world\n  🙂"
    ids = theirs(text, add_special_tokens=False)["input_ids"]
    assert ids == Tokenizer.from_str(JSON).encode(text).ids
    assert theirs.decode(ids) == text
    assert theirs.eos_token_id == theirs.bos_token_id == DOCUMENT


@pytest.mark.parametrize("config", TIED)
@pytest.mark.parametrize("shard_bytes", [SHARD_BYTES, 40_000])
def test_a_model_comes_back_as_it_left(tmp_path: Path, config: Any, shard_bytes: int) -> None:
    model = folder_of(tmp_path, config, shard_bytes=shard_bytes)
    back, vocab_size, weights = read_folder(tmp_path)
    assert vocab_size == back.vocabulary == VOCAB
    assert back.model_copy(update={"ffn_width": None, "vocabulary": None}) == config
    assert back.ffn == config.ffn
    again = Transformer(back, vocab_size)
    load_weights(again, weights)
    tokens = torch.randint(0, VOCAB, (2, 20))
    with torch.no_grad():
        assert torch.equal(again.head.logits(again(tokens)), model.head.logits(model(tokens)))


def test_a_large_model_is_written_in_shards_with_an_index(tmp_path: Path) -> None:
    folder_of(tmp_path, shard_bytes=40_000)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    files = sorted(set(index["weight_map"].values()))
    assert len(files) > 1
    assert not (tmp_path / "model.safetensors").exists()
    names = [name for file in files for name in load_file(tmp_path / file)]
    assert sorted(names) == sorted(index["weight_map"])
    table = "model.embed_tokens.weight"
    assert load_file(tmp_path / index["weight_map"][table])[table].shape == (VOCAB, 48)


@pytest.mark.parametrize("shard_bytes", [SHARD_BYTES, 40_000])
def test_weights_are_readable_by_whom_the_other_files_are(tmp_path: Path, shard_bytes: int) -> None:
    """A server often runs as another user."""
    for umask, mode in ((0o022, 0o644), (0o077, 0o600)):
        before = os.umask(umask)
        try:
            folder_of(tmp_path / f"{mode}", shard_bytes=shard_bytes)
        finally:
            os.umask(before)
        assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / f"{mode}").iterdir()} == {mode}


def test_a_model_that_began_with_a_folder_gives_its_files_back(tmp_path: Path) -> None:
    folder_of(tmp_path / "given")
    theirs = json.loads((tmp_path / "given/config.json").read_text()) | {"eos_token_id": [7, 8], "their_own": True}
    files = {"config.json": json.dumps(theirs).encode(), "chat_template.jinja": b"{{ messages }}"}
    files["generation_config.json"] = b'{"temperature": 0.6}'
    longer = read_folder(tmp_path / "given")
    longer = longer._replace(config=longer.config.model_copy(update={"row_tokens": 256}))
    write_folder(longer, Handover(JSON, DOCUMENT, Precision.BF16, files), tmp_path / "left")
    assert (tmp_path / "left/chat_template.jinja").read_bytes() == b"{{ messages }}"
    assert (tmp_path / "left/generation_config.json").read_bytes() == files["generation_config.json"]
    left = json.loads((tmp_path / "left/config.json").read_text())
    changed = {"torch_dtype": "bfloat16", "max_position_embeddings": 256}
    assert left == theirs | changed


def test_an_unknown_document_token_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="document_token=3 is no special token"):
        write_folder(Pretrained(CONFIG, VOCAB, {}), Handover(JSON, 3), tmp_path / "other")
