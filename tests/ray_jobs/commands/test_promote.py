"""Which checkpoint is meant by a name, and is what it showed at tasks told in lines?"""

from pathlib import Path

import pytest

from cluster.storage.state import publish_json
from cluster.storage.store import Store
from ray_jobs.commands.promote import chosen_checkpoint, task_lines
from ray_jobs.config.schema import Config
from ray_jobs.evaluation.harness.result import Figure
from ray_jobs.origin.record import ORIGIN, Origin
from ray_jobs.outcome import ConfigError
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


def test_every_metric_of_a_task_is_a_line_with_its_interval_and_other_tasks_tell_their_slices() -> None:
    figures = {"exam": {"acc": Figure(0.5, 0.25, 0.75, "higher", 12), "f1": Figure(0.5, None, None, "higher", 12)}}
    tasks = {"exam": {"exam": {"n": 12, "value": 0.5}}, "calm": {"all": {"n": 3, "value": 1.5}}}
    lines = list(task_lines({"checkpoint": "a/1", "slices": {}, "tasks": tasks, "figures": figures}))
    assert lines == [
        "  0.5000 [0.2500, 0.7500] acc  12 questions  exam",
        "  0.5000 f1  12 questions  exam",
        "  1.5000  3 items  all of calm",
    ]
