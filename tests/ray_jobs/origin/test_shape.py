"""Does a run take its shape from what it begins with, and is what contradicts it said in one sentence?"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from data_ops.documents.tokenizer import byte_tokenizer
from models.config import ModelConfig
from ray_jobs.config.reading import read_config
from ray_jobs.config.schema import Config
from ray_jobs.origin.shape import begun
from ray_jobs.outcome import ConfigError
from tests.support.folders import CONFIG, VOCAB, folder_of


def asked(folder: Path | str, *overrides: str) -> Config:
    lake = f"store={Path(folder).parent / 'lake'}" if isinstance(folder, Path) else "store=./lake"
    return read_config([], [lake, f"model.from={folder}", "model.row_tokens=64", *overrides])


def test_a_configuration_that_names_no_weights_stays_as_it_is() -> None:
    config = read_config([], ["model.width=64"])
    assert begun(config) is config


def test_shape_vocabulary_and_tokenizer_are_those_of_the_folder(tmp_path: Path) -> None:
    config = ModelConfig(layers=3, width=48, heads=4, kv_heads=2, head_width=16, qk_norm="head", row_tokens=128)
    folder_of(tmp_path / "base", config)
    found = begun(asked(tmp_path / "base", "model.recompute=true"))
    free = {"start": None, "row_tokens": 128, "recompute": False, "ffn_width": None, "vocabulary": None}
    assert found.model.model_copy(update=free) == config
    assert (found.model.row_tokens, found.model.recompute, found.model.vocabulary) == (64, True, VOCAB)
    assert found.tokenizer.kind == "model"
    assert Config.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(("context", "row"), [(64, 64), (4096, 1024)])
def test_where_no_row_is_asked_for_it_is_as_long_as_the_context_or_1024(tmp_path: Path, context: int, row: int) -> None:
    folder_of(tmp_path / "base", CONFIG.model_copy(update={"row_tokens": context}))
    config = read_config([], [f"store={tmp_path}/lake", f"model.from={tmp_path}/base"])
    assert begun(config).model.row_tokens == row


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.width=96", r"^model\.width=96 differs from 48, which .*base has; leave it out$"),
        ("model.tie_embeddings=false", r"^model\.tie_embeddings=False differs from True, which"),
        (
            "tokenizer.kind=bpe",
            r"^tokenizer\.kind=bpe is not the tokenizer that .*base was trained with; leave",
        ),
        (
            "model.row_tokens=128",
            r"^model\.row_tokens=128 is longer than the context of 64 that .* use at most 64, or scale its positions: "
            r"model\.rope=\{kind: yarn, factor: 2, original_tokens: 64\}$",
        ),
        ("model.row_tokens=48", "engine.batch_tokens=16384 cannot be split"),
    ],
)
def test_what_contradicts_the_folder_is_refused(tmp_path: Path, override: str, words: str) -> None:
    folder_of(tmp_path / "base")
    with pytest.raises(ConfigError, match=words):
        begun(asked(tmp_path / "base", override))


def test_rows_may_be_longer_than_the_context_where_positions_are_scaled(tmp_path: Path) -> None:
    folder_of(tmp_path / "base")
    longer = ["model.row_tokens=128", "model.rope={kind: yarn, factor: 2, original_tokens: 64}"]
    found = begun(asked(tmp_path / "base", *longer)).model
    assert found.rope is not None
    assert (found.row_tokens, found.rope.kind) == (128, "yarn")


def larger_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["added_tokens"] += [tokenizer["added_tokens"][0] | {"id": VOCAB, "content": "<|more|>"}]
    path.write_text(json.dumps(tokenizer))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            larger_tokenizer,
            f"has {VOCAB + 1} tokens, its tables have {VOCAB} rows; .*grow: model.vocabulary={VOCAB + 1}",
        ),
        (lambda folder: (folder / "tokenizer.json").unlink(), r"has no tokenizer\.json \(No such file.*make one: Auto"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), r"'\{\}' is not a tokenizer\.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"holds no \*\.safetensors; fetch all its files"),
    ],
)
def test_a_spoilt_folder_is_refused(tmp_path: Path, spoil: Callable[[Path], None], words: str) -> None:
    folder_of(tmp_path / "base")
    spoil(tmp_path / "base")
    with pytest.raises(ConfigError, match=words):
        begun(asked(tmp_path / "base"))


def test_a_store_with_another_tokenizer_is_refused(tmp_path: Path) -> None:
    from ray_jobs.ingest.opening import check_store, open_store

    open_store(read_config([], [f"store={tmp_path}/lake", "tokenizer.kind=bytes"]))
    folder_of(tmp_path / "base")
    config = begun(asked(tmp_path / "base"))
    with pytest.raises(ConfigError, match=r"tokenizer=.*model.* differs from .*bytes.*, which .* use another store"):
        check_store(open_store(read_config([], [f"store={tmp_path}/lake", "tokenizer.kind=bytes"])).store, config)


def test_another_tokenizer_of_the_same_kind_is_refused_too(tmp_path: Path) -> None:
    from ray_jobs.ingest.opening import check_store, open_store

    folder_of(tmp_path / "base")
    opened = open_store(begun(asked(tmp_path / "base")))
    (tmp_path / "base/tokenizer.json").write_text(byte_tokenizer().to_json())
    with pytest.raises(ConfigError, match=r"the tokenizer of model\.from=.* has fingerprint .*; give that tokenizer"):
        check_store(opened.store, begun(asked(tmp_path / "base")))
