"""Is what can be configured of a Delta table checked before it is opened?"""

from pathlib import Path

import pytest

from data_ops.sources.delta.config import DeltaConfig
from ray_jobs.config.reading import read_config
from ray_jobs.outcome import ConfigError

GIVEN = ("sources.live.kind=delta", "sources.live.path=tables/docs")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("path=s3:///docs", "names no bucket; write for example s3://bucket/prefix"),
        ("path=abfss://docs", "is no store; use a local path, file:///path, s3://bucket/prefix or gs://bucket"),
        ("path=s3://acme/../docs", "is no path inside a store"),
        ("path=tables/docs/_delta_log", "is the log of a table; write the folder that holds it"),
        ("path=", "sources.live.path"),
        ("on_delete=forget", "sources.live.on_delete"),
        ("on_loss=ignore", "sources.live.on_loss"),
        ("tiem=at", "did you mean sources.live.time?"),
        ("messages=talk", "messages=talk is of conversations; set objective=instruct too"),
    ],
)
def test_a_mistake_is_a_sentence(given: str, sentence: str):
    with pytest.raises(ConfigError) as caught:
        read_config([], [*GIVEN, f"sources.live.{given}"])
    assert sentence in str(caught.value)


def test_a_table_has_one_name_however_its_path_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    written = ("docs", "./docs", f"{tmp_path}/docs/", f"file://{tmp_path}/docs")
    assert {DeltaConfig(path=path).absolute().path for path in written} == {f"{tmp_path}/docs"}
    assert DeltaConfig(path="s3://acme/docs/").root == "s3://acme/docs"
