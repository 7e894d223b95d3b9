"""A run that begins with a model somebody has is judged against it, exact after SIGKILL, and hands it back."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.config import ModelConfig
from models.engine.weights import measure_weights
from models.kinds.exchange.folder import read_folder
from tests.support.folders import folder_of
from tests.support.runs import (
    RECIPE,
    command,
    end_all,
    events,
    finish,
    kill,
    last_step,
    start,
    wait_for,
    write_documents,
)

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
KILLED_BEHIND = 6  # steps


@pytest.fixture(autouse=True, scope="module")
def leave_nothing_running() -> Iterator[None]:
    """A failed test must not leave a run behind."""
    yield
    end_all()


def recipe(stage: int = 3, **model: Any) -> str:
    """The small recipe, which begins with a folder; over two workers."""
    given = yaml.safe_load(RECIPE)
    given["model"] = {"from": "./base", "row_tokens": 64, **model}
    given["engine"]["zero_stage"] = stage
    given["held_out"] = "40%"  # enough documents for the gate to be asked
    del given["tokenizer"]
    return yaml.safe_dump(given)


def made(folder: Path) -> Path:
    folder.mkdir()
    write_documents(folder / "corpus/a.jsonl", 150)
    shape = ModelConfig(layers=2, width=32, heads=2, row_tokens=64, qk_norm="head")
    folder_of(folder / "base", shape, shard_bytes=20_000)
    return folder


def ended(folder: Path, driver: Any) -> dict[str, Any]:
    """The summary of a run that ends well."""
    code, summary = finish(driver)
    assert code == 0, (folder / "stderr.txt").read_text()[-3000:]
    return summary


def test_a_run_begins_with_a_folder_is_exact_after_a_kill_and_hands_it_back(tmp_path: Path) -> None:
    whole, broken = made(tmp_path / "whole"), made(tmp_path / "broken")
    straight = ended(whole, start(whole, recipe=recipe()))
    driver = start(broken, recipe=recipe())
    wait_for(broken, driver, lambda told: last_step(told) >= KILLED_BEHIND)
    kill(driver)
    (broken / "base").rename(broken / "moved")  # a run that began does not need it
    resumed = ended(broken, start(broken, recipe=recipe()))
    assert resumed["weights_sha256"] == straight["weights_sha256"]
    assert (resumed["steps"], resumed["documents"]["trained"]) == (straight["steps"], straight["documents"]["trained"])

    origin = json.loads((whole / "lake/runs/small/origin.json").read_text())
    assert origin["sha256"] == measure_weights(read_folder(whole / "base").weights).sha256
    first = json.loads((whole / f"lake/registry/decisions/{straight['checkpoint'].replace('/', '-')}.json").read_text())
    assert first["previous"] == origin["checkpoint"], "the first candidate is judged against what the run began with"
    assert all(found["after"] < found["before"] for found in straight["bits_per_byte"].values())
    assert any(event["event"] == "judged" for event in events(whole))

    weights = {origin["checkpoint"]: origin["sha256"], straight["checkpoint"]: straight["weights_sha256"]}
    for name, sha256 in weights.items():
        code, _ = command(whole, "export", "store=./lake", "--checkpoint", name, "--to", "./left")
        assert code == 0
        assert measure_weights(read_folder(whole / "left").weights).sha256 == sha256
    code, said = command(whole, "generate", "Document", "store=./lake", "--tokens", "8")
    assert (code, said["prompt"], said["checkpoint"]) == (0, "Document", straight["checkpoint"])


@pytest.mark.long  # two minutes; the engine's part of it is tests/models/engine/test_adapters.py
def test_adapters_alone_are_trained_exact_after_a_kill_and_leave_merged_or_alone(tmp_path: Path) -> None:
    lora = {"rank": 4, "alpha": 8, "targets": ["q_proj", "down_proj"]}
    whole, broken = made(tmp_path / "whole"), made(tmp_path / "broken")
    straight = ended(whole, start(whole, recipe=recipe(lora=lora)))
    driver = start(broken, recipe=recipe(lora=lora))
    wait_for(broken, driver, lambda told: last_step(told) >= KILLED_BEHIND)
    kill(driver)
    (broken / "base").rename(broken / "moved")
    resumed = ended(broken, start(broken, recipe=recipe(lora=lora)))
    assert resumed["weights_sha256"] == straight["weights_sha256"]
    assert (resumed["steps"], resumed["documents"]["trained"]) == (straight["steps"], straight["documents"]["trained"])
    assert all(found["after"] < found["before"] for found in straight["bits_per_byte"].values())

    run, _, step = straight["checkpoint"].rpartition("/")
    kept = [path for path in (whole / "lake/runs" / run).rglob("rank-*.safetensors") if step in str(path)]
    base_bytes = sum(path.stat().st_size for path in (whole / "base").glob("*.safetensors"))
    assert 0 < sum(path.stat().st_size for path in kept) < 0.5 * base_bytes  # moments and average with them
    named = ("store=./lake", "--checkpoint", straight["checkpoint"])
    assert command(whole, "export", *named, "--to", "./left")[0] == 0
    base, left = (read_folder(whole / name).weights for name in ("base", "left"))
    changed = {name for name in base if not base[name].equal(left[name])}
    assert {name.split(".")[2] for name in changed} == {"q", "down"}
    code, said = command(whole, "export", *named, "--adapter", "--to", "./adapter")
    assert (code, said["stands_on"]) == (0, "./base") and (whole / "adapter/adapter_model.safetensors").exists()
    assert command(whole, "generate", "Document", *named, "--tokens", "8")[0] == 0
    code, said = command(whole, "verify", "store=./lake", "--deep")
    assert (code, said["damaged"]) == (0, 0)
