"""Do our models answer as the same weights do in the harness's own HFLM, to the last digit of every figure?"""

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_ops.documents.tokenizer import Tokenizer
from models.config import ModelConfig
from models.kinds.kinds import kind_of, model_config
from models.measures.scoring import AskedModel
from ray_jobs.evaluation.harness.answerer import ModelAnswerer
from ray_jobs.evaluation.harness.asking import Harness
from ray_jobs.evaluation.harness.bundle import read_bundle
from tests.support.folders import CONFIG, DOCUMENT, JSON, VOCAB, folder_of
from tests.support.imports.late import late

os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
late("lm_eval")
transformers = late("transformers")
pytestmark = pytest.mark.slow

LONG = "A text that is longer than a row of this model, so that it is read in windows, one after the other. " * 3
MOST = CONFIG.row_tokens
GENERATED = {
    "output_type": "generate_until",
    "doc_to_text": "{{german}} means",
    "doc_to_target": "english",
    "generation_kwargs": {"until": [" e"], "max_gen_toks": 12},
    "metric_list": [{"metric": "exact_match"}, {"metric": "chrf"}],
}


def asked(folder: Path, kind: str) -> AskedModel:
    """The weights of a folder, as the decoder of ours or as transformers compute them."""
    config = CONFIG
    read = kind_of(ModelConfig() if kind == "decoder" else model_config({"kind": kind, "from": "base"})).read(folder)
    config = read.config.model_copy(update={"row_tokens": MOST})
    return AskedModel(config, read.vocab_size, 0, dict(read.weights))


def hflm(folder: Path) -> Any:
    from lm_eval.models.huggingface import HFLM
    from tokenizers import Tokenizer as Backend

    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Backend.from_str(JSON), bos_token="<|document|>", eos_token="<|document|>"
    )
    options = {"device": "cpu", "dtype": "float32", "batch_size": 4, "max_length": MOST, "prefix_token_id": DOCUMENT}
    return HFLM(pretrained=str(folder), tokenizer=tokenizer, **options)


def tasks(folder: Path) -> dict[str, Path]:
    """Task files: four choices, windows over long texts, words that follow, and generated text."""
    (folder / "long.jsonl").write_text("\n".join(json.dumps({"text": LONG[n:]}) for n in (0, 7, 250, 299)))
    translation = read_bundle("small_translation").files["test-0.jsonl"]
    (folder / "translation.jsonl").write_bytes(b"\n".join(translation.splitlines()[:8]))
    head = {"dataset_path": "json", "test_split": "test"}
    files = {
        "choices": read_bundle("small_choice").definition,
        "windows": head | {"output_type": "loglikelihood_rolling", "doc_to_target": "text", "doc_to_text": ""},
        "words": head | {"output_type": "loglikelihood", "doc_to_target": "english", "doc_to_text": "{{german}} "},
        "said": head | GENERATED,
    }
    data = {"windows": "long.jsonl", "words": "translation.jsonl", "said": "translation.jsonl"}
    (folder / "choices.jsonl").write_bytes(read_bundle("small_choice").files["test-0.jsonl"])
    for name, definition in files.items():
        kwargs = {"data_files": {"test": data.get(name, "choices.jsonl")}}
        (folder / f"{name}.yaml").write_text(json.dumps(definition | {"task": name, "dataset_kwargs": kwargs}))
    return {name: folder / f"{name}.yaml" for name in files}


def by_hand(files: dict[str, Path], model: Any) -> dict[str, dict[str, float]]:
    """What the harness's own door gives for its own model."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    definitions = []
    for path in files.values():
        found = json.loads(path.read_text())
        named = found["dataset_kwargs"]["data_files"]
        found["dataset_kwargs"] = {"data_files": {split: str(path.parent / name) for split, name in named.items()}}
        definitions.append(found)
    manager = TaskManager(include_defaults=False)
    done = simple_evaluate(model, tasks=definitions, task_manager=manager, bootstrap_iters=0, limit=24)
    return {
        task: {key.removesuffix(",none"): value for key, value in found.items() if isinstance(value, float)}
        for task, found in done["results"].items()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("llama")
    folder_of(directory / "model")
    return directory


@pytest.fixture(scope="module")
def theirs(folder: Path) -> dict[str, dict[str, float]]:
    return by_hand(tasks(folder), hflm(folder / "model"))


@pytest.mark.parametrize("kind", ["decoder", "transformers"])
def test_every_figure_is_that_of_the_harness_run_by_hand(folder: Path, theirs: dict, kind: str):
    answerer = ModelAnswerer(asked(folder / "model", kind), Tokenizer.from_json(JSON), 512, begins_document=False)
    with Harness() as harness:
        for name, path in tasks(folder).items():
            found = harness.run(read_bundle(str(path)), name, None, 24, answerer)
            ours = {metric: whole.value for metric, whole in found.whole.items()}
            assert set(ours) == set(theirs[name]) - {"sample_len"}, name
            for metric, value in ours.items():
                expected = theirs[name][metric]
                if metric in ("acc", "acc_norm", "exact_match", "chrf"):
                    assert value == expected, metric
                elif metric == "perplexity":  # e to a sum of some hundred nats, in which the last digit grows
                    assert math.log(value) == pytest.approx(math.log(expected), rel=2e-6)
                else:
                    assert value == pytest.approx(expected, rel=2e-6), metric
    assert answerer.cut > 0, "some requests were longer than a row"


def test_a_prompt_begins_as_documents_do_unless_it_is_told_not_to(folder: Path):
    model, tokenizer = asked(folder / "model", "decoder"), Tokenizer.from_json(JSON)
    pairs = [("What is it? ", "a tree"), ("", "a tree"), ("x" * 90, " is long")]
    with_it, without = (
        ModelAnswerer(model, tokenizer, 512, begins_document=begins).loglikelihood(pairs) for begins in (True, False)
    )
    assert with_it[0] != without[0] and with_it[1:] == without[1:], "of a long prompt the beginning is cut"


def test_an_answer_is_the_same_alone_and_among_others(folder: Path):
    answerer = ModelAnswerer(asked(folder / "model", "decoder"), Tokenizer.from_json(JSON), 128, begins_document=True)
    pairs = [(f"Question {n}:", f" {'ab' * n}") for n in range(12)]
    together = answerer.loglikelihood(pairs)
    alone = [answerer.loglikelihood([pair])[0] for pair in pairs]
    assert [a[1] for a in together] == [a[1] for a in alone]
    np.testing.assert_allclose([a[0] for a in together], [a[0] for a in alone], rtol=1e-5)


@pytest.mark.parametrize(
    ("how", "said"),
    [({"max_gen_toks": MOST}, "leaves no room in model.row_tokens=64"), ({"max_gen_toks": "many"}, "many")],
)
def test_what_does_not_fit_a_row_is_told_with_the_mend(folder: Path, how: dict, said: str):
    answerer = ModelAnswerer(asked(folder / "model", "decoder"), Tokenizer.from_json(JSON), 512, begins_document=True)
    with pytest.raises(ValueError, match=said):
        answerer.generate([("a", how)])
    with pytest.raises(
        ValueError, match=r"an answer of 70 tokens does not fit model.row_tokens=64; shorten the answers"
    ):
        answerer.loglikelihood([("a", "b" * 70)])
    assert VOCAB == 257
