"""Does one command answer what is known of somebody's documents, before and after they are forgotten?"""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.storage.store import Store
from data_ops.lake.lake import Lake
from ray_jobs.__main__ import app
from ray_jobs.commands.forget import forget
from ray_jobs.commands.request import report_lines, report_on
from ray_jobs.commands.tracing import trace
from ray_jobs.config.schema import Config
from ray_jobs.outcome import ConfigError
from tests.support.registry.carded import carded_store

pytestmark = pytest.mark.slow


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A store of one's own, whose champions were small/6, small/3 and small/6."""
    made = carded_store()
    shutil.copytree(made.store, tmp_path / "lake")
    return made.model_copy(update={"store": f"{tmp_path}/lake"})


def ids_of(config: Config, fate: str) -> list[str]:
    lake = Lake(Store.open(config.store))
    return [name.hex() for name in lake.documents(0, lake.last_window(), ["id"], [fate])["id"].to_pylist()]


def test_the_answer_is_that_of_trace_and_names_the_champions_that_had_it(config: Config) -> None:
    seen = set()
    for name in ids_of(config, "kept")[:8]:
        [answer] = report_on(config.store, [name])["answers"]
        [told], story = answer["documents"], trace(config.store, [name])
        assert (told["runs"], told["branches"], told["fate"]) == (story["runs"], story["branches"], story["fate"])
        checkpoints = {row["checkpoint"] for run in story["runs"] for row in run["checkpoints"]}
        named = [(one["number"], one["checkpoint"], one["in_service"], one["kept"]) for one in told["champions"]]
        everyone = [
            (1, "small/00000006", False, True),
            (2, "small/00000003", False, True),
            (3, "small/00000006", True, True),
        ]
        assert named == [one for one in everyone if one[1] in checkpoints]
        seen.add(len(named))
    assert 3 in seen


def test_a_forgotten_document_is_told_with_its_time_and_who_still_carries_it(config: Config) -> None:
    answers = report_on(config.store, ids_of(config, "kept"))["answers"]
    before = next(one["documents"][0] for one in answers if one["documents"][0]["champions"])
    name = before["id"]
    assert name is not None
    forget(config, [name])
    told = report_on(config.store, [name])["answers"][0]["documents"][0]
    assert before["forgotten"] is None and before["text_is_here"]
    assert (
        told["forgotten"] and not told["text_is_here"] and told["external_id"] is None and told["fate"] == "forgotten"
    )
    assert told["champions"] == before["champions"] != [], "weights cannot be unlearned"
    lines = "\n".join(report_lines(report_on(config.store, [name])))
    assert f"forgotten since {told['forgotten']}" in lines and "has it in its weights" in lines


def test_names_of_every_kind_are_answered_at_once_and_nothing_is_changed(config: Config) -> None:
    kept, held = ids_of(config, "kept")[0], ids_of(config, "held_out")[0]
    place = report_on(config.store, [held])["answers"][0]["documents"][0]["place"]
    done = CliRunner().invoke(app, ["forget", "--report", kept, place, "nobody", f"store={config.store}", "--json"])
    assert done.exit_code == 0, done.output
    answers = {one["asked"]: one["documents"] for one in json.loads(done.stdout.splitlines()[-1])["answers"]}
    assert [one["id"] for one in answers[kept]] == [kept] and [one["id"] for one in answers[place]] == [held]
    assert answers[place][0]["champions"] == [] and answers["nobody"] == []
    assert "preview" not in done.stdout, "texts are left out"
    assert ids_of(config, "kept")[0] == kept
    with pytest.raises(ConfigError, match="no document is named"):
        report_on(config.store, [])
