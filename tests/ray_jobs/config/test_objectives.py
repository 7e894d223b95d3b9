"""What is learnt of a source must be what the kind of model learns: said before anything starts."""

from pathlib import Path

import pytest

import headrace
from cluster.storage.store import Store
from data_ops.sources.objective import ObjectiveConfig
from ray_jobs.config.reading import read_config
from ray_jobs.config.schema import Config
from ray_jobs.ingest.opening import check_store, open_store
from ray_jobs.ingest.settings import ingest_settings
from ray_jobs.outcome import ConfigError

ENCODER = ("model.kind=encoder", "model.layers=1", "model.width=32", "model.heads=2")


def config_of(folder: Path, *overrides: str) -> Config:
    given = (f"store={folder}/lake", f"sources.a.path={folder}/*.jsonl", "tokenizer.kind=bytes")
    return read_config([], [*given, *overrides])


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("sources.a.objective=masked",), "objective=masked is for an encoder, and model.kind=decoder predicts next"),
        ((*ENCODER, "sources.a.objective=causal"), "objective=causal is for a model that predicts next tokens, and"),
        (
            (*ENCODER, "sources.a.objective=instruct"),
            "objective=instruct is for a model that predicts next tokens, and",
        ),
        (("model.masking.share=0.2",), "unknown"),
        ((*ENCODER, "model.window=8"), "window is a key of kind=decoder"),
        ((*ENCODER, "model.masking.share=0"), "greater than or equal to 0.01"),
        ((*ENCODER, "sources.a.objective=hidden"), "'causal', 'instruct' or 'masked'"),
    ],
)
def test_what_does_not_fit_is_one_sentence(tmp_path: Path, overrides: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as refused:
        config_of(tmp_path, *overrides)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("model", "objective"), [((), "causal"), (ENCODER, "masked")])
def test_what_is_not_said_is_what_the_kind_learns(tmp_path: Path, model: tuple[str, ...], objective: str) -> None:
    settings = ingest_settings(config_of(tmp_path, *model), None)
    source = settings.sources["a"]
    assert isinstance(source, ObjectiveConfig) and source.objective == objective
    assert settings.closes is (objective == "masked")


def test_a_store_keeps_documents_for_the_one_or_the_other(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "A text that is kept, with a good many words in it."}\n')
    opened = open_store(config_of(tmp_path, *ENCODER))
    assert opened.tokenizer.mask_token == 257 and opened.tokenizer.frame == (256, None)
    check_store(Store.open(f"{tmp_path}/lake"), config_of(tmp_path, *ENCODER))
    with pytest.raises(ConfigError, match=r"keeps documents for an encoder .objective=masked., whose hidden tokens"):
        headrace.feed(f"{tmp_path}/lake", "mine")
    with pytest.raises(ConfigError, match=r"keeps documents for an encoder.* model\.kind=decoder is a model that"):
        open_store(config_of(tmp_path))
