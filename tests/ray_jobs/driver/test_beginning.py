"""Is what a run begins with the first champion, and only the first?"""

from pathlib import Path

import pytest

from ray_jobs.checkpoints.champion import read_champion
from ray_jobs.config.reading import read_config
from ray_jobs.driver.beginning import begin
from ray_jobs.ingest.opening import OpenStore, open_store
from ray_jobs.origin.shape import begun
from ray_jobs.registry.champion import put_in_service
from tests.support.folders import folder_of


def opened(tmp_path: Path, *overrides: str) -> tuple[OpenStore, str | None]:
    folder_of(tmp_path / "base")
    config = begun(read_config([], [f"store={tmp_path}/lake", *overrides]))
    found = open_store(config)
    return found, begin(found.store, config, found.tokenizer, judged="name=watched" in overrides)


def test_the_base_is_put_in_service_where_candidates_are_judged(tmp_path: Path) -> None:
    base = f"model.from={tmp_path}/base"
    found, name = opened(tmp_path, base, "name=unjudged")
    assert name is not None
    assert read_champion(found.store) is None
    found, name = opened(tmp_path, base, "name=watched")
    champion = read_champion(found.store)
    assert champion is not None
    assert champion.checkpoint == name
    put_in_service(found.store, champion)
    again, _ = opened(tmp_path, base, "name=watched", "model.row_tokens=32")
    assert read_champion(again.store) == champion, "a champion is followed by who beats it, not by another start"


def test_random_weights_are_no_champion(tmp_path: Path) -> None:
    found, name = opened(tmp_path, "tokenizer.kind=bytes", "name=watched")
    assert name is None
    assert read_champion(found.store) is None


def test_a_tokenizer_of_nothing_is_refused(tmp_path: Path) -> None:
    from ray_jobs.outcome import ConfigError

    with pytest.raises(ConfigError, match=r"tokenizer\.kind=model is the tokenizer of model\.from, which is absent"):
        opened(tmp_path, "tokenizer.kind=model")
