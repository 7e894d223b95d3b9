"""Does the alias in a real registry of MLflow follow our champion, whatever was killed, and never end a run?"""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.telemetry.mlflow_registry import ALIAS, MlflowRegistry
from cluster.telemetry.wandb_run import Champion
from tests.support.imports.late import late

mlflow = late("mlflow")
FIRST = Champion(
    "news/00000120", None, "s3://acme/lake", ("s3://acme/lake/runs/news/a/0.safetensors",), {"weights_sha256": "ab"}
)
SECOND = replace(FIRST, checkpoint="news/00000240", previous="news/00000120", facts={"tokens": 7})


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """A database of MLflow, which the product finds by MLflow's own variable."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    return lambda: mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


def versions(client: Any) -> dict[int, str]:
    """Checkpoint by version."""
    return {int(v.version): v.tags["headrace.checkpoint"] for v in client.search_model_versions("name='news'")}


@pytest.mark.slow
def test_the_alias_follows_forth_and_back_and_told_twice_nothing_changes(server: Callable[[], Any]) -> None:
    registry = MlflowRegistry("news")
    for champion in (FIRST, FIRST, SECOND, FIRST, SECOND, SECOND):
        registry.promoted(champion)
        there = server().get_model_version_by_alias("news", ALIAS)
        assert there.tags["headrace.checkpoint"] == champion.checkpoint
    assert versions(server()) == {1: FIRST.checkpoint, 2: SECOND.checkpoint}
    assert there.source == "s3://acme/lake/runs/news/a" and there.tags["headrace.tokens"] == "7"
    registry.promoted(replace(FIRST, checkpoint="news/00000360", store="/data", files=("/data/runs/a/0.safetensors",)))
    there = server().get_model_version_by_alias("news", ALIAS)
    assert there.source == "headrace:///data/runs/a", "MLflow's server refuses paths of its own disk"


@pytest.mark.slow
def test_nothing_is_written_into_the_folder_where_it_runs(
    server: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    MlflowRegistry("news").promoted(FIRST)
    assert versions(server()) == {1: FIRST.checkpoint} and not list((tmp_path / "here").iterdir())


@pytest.mark.slow
def test_killed_between_any_two_calls_the_next_start_ends_with_the_same(server: Callable[[], Any]) -> None:
    MlflowRegistry("news").promoted(FIRST)
    calls = ["create_registered_model", "search_model_versions", "create_model_version", "set_registered_model_alias"]
    for call in calls:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mlflow.MlflowClient, call, killed)
            with pytest.raises(KeyboardInterrupt):
                MlflowRegistry("news").promoted(SECOND)
    MlflowRegistry("news").promoted(SECOND)
    assert server().get_model_version_by_alias("news", ALIAS).tags["headrace.checkpoint"] == SECOND.checkpoint
    assert versions(server()) == {1: FIRST.checkpoint, 2: SECOND.checkpoint}


def killed(*_: Any, **__: Any) -> Any:
    """What is not caught."""
    raise KeyboardInterrupt


def test_a_server_that_is_not_there_is_told_and_its_password_is_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter2@127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with caplog.at_level(logging.WARNING):
        MlflowRegistry("news").promoted(FIRST)
    assert "MLflow does not know yet that news/00000120 is the champion of news" in caplog.text
    assert "hunter2" not in caplog.text
