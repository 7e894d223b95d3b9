"""A run that begins with an encoder of others: its shape, its tokenizer with [CLS] and [SEP], and what is refused."""

import json
import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
pytest.importorskip("transformers")

import numpy as np
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, processors

from cluster.storage.store import Store
from data_ops.documents.tokenizer import Tokenizer
from models.kinds.building import build
from models.kinds.kind import Handover, Pretrained
from models.kinds.kinds import kind_of, model_config
from ray_jobs.config.reading import read_config
from ray_jobs.config.schema import Config
from ray_jobs.evaluation.row_objective import judged_objective, training_objective
from ray_jobs.ingest.first_tokenizer import make_tokenizer
from ray_jobs.origin.shape import begun
from ray_jobs.origin.taking import take_in
from ray_jobs.outcome import ConfigError
from ray_jobs.store.paths import TOKENIZER

pytestmark = pytest.mark.slow
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (*SPECIAL, *"abcdefghijklmnopqrstuvwxyz", *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"))


def wordpiece(special: tuple[str, ...] = SPECIAL) -> str:
    """A tokenizer.json as BERT has it, of letters."""
    backend = Backend(models.WordPiece({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.add_special_tokens(list(special))
    tokens = [("[CLS]", 2), ("[SEP]", 3)]
    backend.post_processor = processors.TemplateProcessing(single=["[CLS]", "$A", "[SEP]"], special_tokens=tokens)
    return str(backend.to_str())


def config_of(folder: Path, *overrides: str) -> Config:
    given = [f"store={folder}/lake", "name=mine", f"model.from={folder}/base", "model.kind=encoder", *overrides]
    return begun(read_config([], given))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `base` of a small BERT, in one for a store."""
    folder = tmp_path_factory.mktemp("encoder")
    shape = {"kind": "encoder", "layers": 1, "width": 16, "heads": 2, "row_tokens": 32, "vocabulary": len(WORDS)}
    config = model_config({**shape, "family": {"pad_token_id": 0}})
    weights = {name: weight.detach() for name, weight in build(config, len(WORDS), 1).named_parameters()}
    handover = Handover(wordpiece(), 2)
    kind_of(config).export(Pretrained(config, len(WORDS), weights), handover, folder / "base")
    return folder


def test_shape_and_tokenizer_come_with_it_and_what_is_hidden_is_ours_to_choose(base: Path) -> None:
    config = config_of(base, "model.masking.share=0.3", "model.row_tokens=16")
    model = config.model.model_dump()
    assert (model["layers"], model["width"], model["heads"], model["row_tokens"], model["packed"]) == (
        1,
        16,
        2,
        16,
        True,
    )
    assert model["masking"]["share"] == 0.3 and config.tokenizer.kind == "model"
    tokenizer = make_tokenizer(config)
    assert (tokenizer.mask_token, tokenizer.frame) == (4, (2, 3))
    masking = training_objective(config.model, tokenizer, 5).masking
    assert masking is not None and masking.rates.chosen == 0.3 and masking.seed == 5
    assert np.array_equal(masking.ordinary, np.arange(5, len(WORDS))), "[UNK] is never hidden, and none is drawn"
    judged = judged_objective(config.model, tokenizer)
    assert judged.document_token == 2 and judged.masking is not None and judged.masking.rates.chosen == 0.15
    store = Store.open(f"{base}/lake")
    store.write(TOKENIZER, tokenizer.to_json().encode())
    name = take_in(store, config, tokenizer)
    assert name is not None and name.startswith("base@")
    with pytest.raises(ConfigError, match="row_tokens=33 is longer than the 32 positions that the model knows"):
        config_of(base, "model.row_tokens=33", "engine.batch_tokens=3300")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ("model.row_tokens=33", "engine.batch_tokens=3300"),
            "row_tokens=33 is longer than the context of 32 .* use at most 32$",
        ),
        (("model.layers=2",), "model.layers=2 differs from 1, which"),
        (("model.kind=decoder",), "has model_type=bert; .* or model.kind=encoder of one that fills masks"),
        (("model.kind=transformers",), "model_type=bert sees what stands behind a token, and would have to predict it"),
    ],
)
def test_what_contradicts_is_refused(base: Path, overrides: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        config_of(base, "name=other", *overrides)


def test_a_tokenizer_without_a_mask_token_is_refused(base: Path, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "base" / name).write_bytes((base / "base" / name).read_bytes())
    text = json.loads(wordpiece())
    text["added_tokens"] = [token for token in text["added_tokens"] if token["content"] != "[MASK]"]
    (tmp_path / "base/tokenizer.json").write_text(json.dumps(text))
    with pytest.raises(ConfigError, match=r"has no mask token .* begin with a model that was trained so"):
        make_tokenizer(config_of(tmp_path))


def test_a_frame_is_what_the_template_puts_around_a_text() -> None:
    bert = Tokenizer.from_json(wordpiece())
    assert bert.frame == (2, 3) and bert.with_mask() is bert
    assert bert.encode(["ab [SEP]"]).to_pylist()[0][:2] == [5, 32], "and no text says it"
