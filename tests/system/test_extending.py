"""Do a driver and its Ray workers use what an installed package adds, without a change of ours?"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.compute as pc
import pytest

from cluster.storage.store import Store
from data_ops.lake.lake import Lake
from ray_jobs.checkpoints import manifest
from tests.support.root import ROOT
from tests.support.runs import environment

EXAMPLE = ROOT / "docs" / "examples" / "headrace-shouting"
RECIPE = """
name: loud
store: ./lake
held_out: 20%
sources: {square: {kind: crowd, messages: 240}, hall: {kind: crowd, messages: 90}}
curate: {rules: [too_short, {kind: shouting, source: square}]}
tokenizer: {kind: bytes}
reservoir: {capacity: 50, shards: 1}
round: {tokens: 8192}
model: {kind: pairs, rank: 8, row_tokens: 64}
engine: {workers: 1, precision: fp32, batch_tokens: 1024}
optim: {schedule: {kind: constant}}
evaluate: {tasks: [{kind: calm, sentences: [The water is fine., All is well.]}]}
wandb: {mode: disabled}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, installed into a folder by pip, offline."""
    folder = tmp_path_factory.mktemp("packages")
    options = [
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--disable-pip-version-check",
        "--target",
        str(folder),
    ]
    copy = tmp_path_factory.mktemp("source") / "example"  # pip leaves a build folder beside what it builds
    subprocess.run(["cp", "-r", str(EXAMPLE), str(copy)], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", *options, str(copy)], check=True)
    return folder


def headrace(folder: Path, packages: Path, *arguments: str) -> dict:
    """Run a command in the folder with the packages on the path; the object of its last line."""
    env = environment() | {"PYTHONPATH": f"{ROOT}{os.pathsep}{packages}", "RAY_AUTH_MODE": "token"}
    argv = [sys.executable, "-m", "ray_jobs", arguments[0], "-c", "run.yaml", "--json", *arguments[1:]]
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.slow
def test_without_the_package_its_names_are_unknown_and_with_it_a_plan_is_made(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(RECIPE)
    argv = [sys.executable, "-m", "ray_jobs", "run", "-c", "run.yaml", "--dry-run"]
    done = subprocess.run(argv, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 2
    for name in ("'crowd' is unknown", "no rule 'shouting'", "no kind of model 'pairs'"):
        assert name in done.stderr
    with_it = environment() | {"PYTHONPATH": f"{ROOT}{os.pathsep}{installed}"}
    done = subprocess.run([*argv, "evaluate.tasks=[clam]"], cwd=tmp_path, env=with_it, capture_output=True, text=True)
    assert done.returncode == 2 and "there is no task 'clam'; did you mean 'calm'" in done.stderr
    assert subprocess.run(argv, cwd=tmp_path, env=with_it, capture_output=True, text=True).returncode == 0


@pytest.mark.ray
def test_an_installed_source_rule_kind_and_task_work_in_driver_and_workers(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(RECIPE)
    summary = headrace(tmp_path, installed, "run")
    rows = Lake(Store.open(str(tmp_path / "lake"))).documents(0, 99, ["source", "fate", "reason", "text"])
    dropped = rows.filter(pc.equal(rows["reason"], "shouting"))
    assert rows.num_rows == summary["documents"]["read"] == 330
    assert set(dropped["source"].to_pylist()) == {"square"} and summary["documents"]["dropped"]["shouting"] == 80
    last = manifest.by_name(Store.open(str(tmp_path / "lake")), summary["checkpoint"])
    assert (last.state.model["kind"], last.state.model["rank"]) == ("pairs", 8)
    assert summary["loss"]["last"] < summary["loss"]["first"]
    found = headrace(tmp_path, installed, "evaluate")
    assert found["tasks"]["calm"]["sentences"]["n"] == 2 and 0 <= found["tasks"]["calm"]["sentences"]["value"] <= 1
    assert set(found["slices"]) and headrace(tmp_path, installed, "verify")["ok"]
    judged = headrace(tmp_path, installed, "trace", "square:crowd:0")
    assert (judged["reason"], judged["meaning"]) == ("shouting", "texts of one source that are written in capitals")
