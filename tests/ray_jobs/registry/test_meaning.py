"""Which checkpoint is meant by a name?"""

from pathlib import Path

import pytest

from cluster.storage.state import publish_json
from cluster.storage.store import Store
from ray_jobs.config.schema import Config
from ray_jobs.origin.record import ORIGIN, Origin
from ray_jobs.outcome import ConfigError
from ray_jobs.registry.meaning import chosen_checkpoint
from ray_jobs.store.paths import run_path
from tests.support.registry.champions import commit, promoted


def test_champion_and_base_are_names_and_what_is_not_there_is_told_with_the_mend(tmp_path: Path) -> None:
    store, config = Store.open(str(tmp_path)), Config(store=str(tmp_path), name="news")
    first = commit(store, "news", 3)
    for name, said in (("champion", "has no champion yet; promote"), ("base", "began with random weights")):
        with pytest.raises(ConfigError, match=said):
            chosen_checkpoint(config, name)
    commit(store, "base@12", 0)
    origin = Origin(named="./m", checkpoint="base@12/00000000", sha256="", tokenizer="", brings_tokenizer=True, seen={})
    publish_json(store, run_path("news", ORIGIN), origin)
    promoted(store, first, "better")
    commit(store, "news", 5)
    found = {name: chosen_checkpoint(config, name)[1].name for name in ("champion", "base", "news/5")}
    assert found == {"champion": "news/00000003", "base": "base@12/00000000", "news/5": "news/00000005"}
