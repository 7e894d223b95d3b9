"""Does W&B's own agent drive real trials: settings, one ingest, early stop, what W&B is told, no secret anywhere?"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.cluster.telemetry.test_sinks import summary_of, wandb_records
from tests.cluster.telemetry.test_tensorboard import read
from tests.support.runs import RECIPE, ROOT, environment, write_documents

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(1500)]
SECRET = "5ec4e7" * 6 + "5ec4"  # as long as a W&B key
LR = {"aaaa": 0.004, "bbbb": 0.002}
ARGS = {"engine.workers": 1, "reservoir.half_life": ["10d", "none"], "optim.decay_embeddings": False}


class Swept(NamedTuple):
    """What a sweep of two trials left behind."""

    folder: Path
    ray: Path
    told: dict[str, Any]
    output: str

    def run(self, trial: str) -> Path:
        """The folder of a trial's run."""
        return self.folder / f"lake/runs/small-{trial}"

    def events(self, trial: str) -> list[dict[str, Any]]:
        """What a trial told of itself."""
        return [json.loads(line) for line in (self.run(trial) / "metrics.jsonl").read_text().splitlines()]

    def records(self, trial: str) -> list[dict[str, Any]]:
        """What a trial told W&B."""
        return wandb_records(next(self.folder.glob(f"wandb/offline-run-*-{trial}/run-{trial}.wandb")))


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swept]:
    """Two trials by the shipped sweep file: one `run` to its end, one `train` that is stopped after its first steps."""
    folder = tmp_path_factory.mktemp("sweep")
    write_documents(folder / "corpus/a.jsonl", 150)
    recipe = RECIPE.replace("wandb: {mode: disabled}", "telemetry: {tensorboard: true}")
    (folder / "run.yaml").write_text(recipe)
    sweep = yaml.safe_load((ROOT / "tune/wandb_sweep.yaml").read_text())
    sweep["command"] = ["run.yaml" if word == "demo" else word for word in sweep["command"]]
    trials = [
        {
            "id": "aaaa",
            "args": {"optim.lr": LR["aaaa"], **ARGS},
            "command": ["run" if word == "train" else word for word in sweep["command"]],
        },
        {
            "id": "bbbb",
            "args": {"optim.lr": LR["bbbb"], "engine.batch_tokens": 256, **ARGS},
            "stop_when": str(folder / "lake/runs/small-bbbb/metrics.jsonl"),
        },
    ]
    (folder / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    (folder / "trials.json").write_text(json.dumps(trials))
    ray = Path(tempfile.mkdtemp(prefix="hr-"))  # short, for the sockets in it
    variables = {key: value for key, value in environment().items() if not key.startswith("WANDB_")} | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # where `headrace` is
        "RAY_TMPDIR": str(ray),
        "WANDB_MODE": "offline",
        "WANDB_API_KEY": SECRET,
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }
    agent = subprocess.run(
        [sys.executable, "-m", "tests.support.wandb_agent", "sweep.yaml", "trials.json"],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
    )
    assert agent.returncode == 0, agent.stderr[-3000:]
    yield Swept(folder, ray, json.loads(agent.stdout.splitlines()[-1]), agent.stdout + agent.stderr)
    shutil.rmtree(ray, ignore_errors=True)


def test_a_trial_ends_well_or_is_stopped_and_neither_is_a_failure_to_the_agent(swept: Swept) -> None:
    assert swept.told == {"ended": {"aaaa": 0, "bbbb": -signal.SIGTERM}, "failed": 0}, swept.output[-3000:]
    first, second = (json.loads((swept.run(trial) / "summary.json").read_text()) for trial in LR)
    assert first["promoted"] and first["documents"]["pending"] == 0
    assert second["steps"] > 0 and second["documents"]["pending"] > 0, "it was stopped half way, after a checkpoint"
    assert (swept.run("bbbb") / f"checkpoints/{second['steps']:08d}.json").exists()


def test_each_trial_is_a_run_with_its_own_settings_over_text_that_was_taken_in_once(swept: Swept) -> None:
    for trial, rate in LR.items():
        config = json.loads((swept.run(trial) / "config.json").read_text())
        assert (config["name"], config["optim"]["lr"], config["engine"]["workers"]) == (f"small-{trial}", rate, 1)
        assert config["reservoir"]["half_life"] == [864000.0, None]
    windows = {trial: sum(event["event"] == "window" for event in swept.events(trial)) for trial in LR}
    assert windows == {"aaaa": 3, "bbbb": 0}


def test_wandb_is_told_what_the_sweep_and_a_dashboard_need(swept: Swept) -> None:
    records = swept.records("aaaa")
    run = next(record["run"] for record in records if record["type"] == "run")
    config = run["config"]["update"]
    assert (run["run_id"], run["sweep_id"], run["display_name"]) == ("aaaa", "sw1", "small-aaaa")
    assert (config["optim.lr"], config["name"], config["system.nodes"]) == (LR["aaaa"], "small-aaaa", 1)
    history = [record["history"]["item"] for record in records if record["type"] == "history"]
    judged = [row for row in history if "bits_per_byte" in row]
    slices = [name for name in judged[0] if name.startswith("bits_per_byte/wire/")]
    assert len(judged) > 3 and slices, "early stopping counts evaluations"
    assert any("freshness_p50_s" in row for row in history)
    assert any(record["type"] == "stats" for record in records), "CPU, memory and GPU of this machine"
    summary = summary_of(records)
    ours = json.loads((swept.run("aaaa") / "summary.json").read_text())
    assert summary["sample_fingerprint"] == ours["sample_fingerprint"] and summary["lost"] == 0
    assert summary[slices[0]] == next(iter(ours["bits_per_byte"].values()))["after"], "not the untrained model's"


def test_the_champion_is_an_artifact_that_says_where_it_comes_from(swept: Swept) -> None:
    (artifact,) = (record["artifact"] for record in swept.records("aaaa") if record["type"] == "artifact")
    champion = json.loads((swept.folder / "lake/registry/champion.json").read_text())
    facts = json.loads(artifact["metadata"])
    assert facts["checkpoint"] == champion["checkpoint"] and facts["previous"] is None
    assert facts["branch_of"] == "small-aaaa/" + facts["checkpoint"][11:19]
    rounds = sum(event["event"] == "round" for event in swept.events("aaaa"))
    assert (facts["rounds"], facts["last_window"]) == (rounds, 2)
    contents = {item["path"]: item for item in artifact["manifest"]["contents"]}
    told = json.loads(Path(contents["lineage.json"]["local_path"]).read_text())
    assert told["weights_sha256"] == champion["weights_sha256"] and told["decision"]["promoted"]
    assert int(contents["rank-00000.safetensors"]["size"]) == told["files"][0]["size_bytes"]


def test_tensorboard_has_the_same_losses(swept: Swept) -> None:
    (file,) = swept.run("aaaa").glob("tensorboard/events.out.tfevents.*")
    found = {
        (event.step, round(value.simple_value, 5))
        for event in read(file)
        for value in event.summary.value
        if value.tag == "loss"
    }
    losses = {(event["step"], event["loss"]) for event in swept.events("aaaa") if event["event"] == "step"}
    assert len(losses) > 10
    assert sorted(step for step, _ in found) == sorted(step for step, _ in losses)
    assert [loss for _, loss in sorted(found)] == pytest.approx([loss for _, loss in sorted(losses)], abs=1e-4)


def test_no_secret_is_in_any_file_or_line(swept: Swept) -> None:
    files = [
        path
        for place in (swept.folder, swept.ray)
        for path in place.rglob("*")
        if path.is_file() and not path.is_symlink()
    ]
    assert len([path for path in files if swept.ray in path.parents]) > 10, "Ray's logs are among them"
    assert [str(path) for path in files if SECRET.encode() in path.read_bytes()] == []
    assert SECRET not in swept.output
