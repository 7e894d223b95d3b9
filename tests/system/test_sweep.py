"""Does `headrace sweep` find, stop, survive and hand over, with real processes?"""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.runs import RECIPE, environment, wait_until, write_documents

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(1200)]
TOKENS = 16384
SPACE = {"optim.lr": [1e-3, 1e-2], "engine.batch_tokens": [512, 1024]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus; the store comes with the first sweep."""
    folder = tmp_path_factory.mktemp("sweep")
    write_documents(folder / "corpus/a.jsonl", 400)
    return folder


def start(folder: Path, name: str, **asked: Any) -> subprocess.Popen[str]:
    """Start `headrace sweep`; its own lines go to a file."""
    recipe = yaml.safe_load(RECIPE)
    recipe |= {"name": name, "sweep": {"tokens": TOKENS, "space": SPACE, **asked}}
    recipe["wandb"] = {"mode": "offline"}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    argv = [sys.executable, "-m", "ray_jobs", "sweep", "-c", f"{name}.yaml", "--json"]
    errors = (folder / f"{name}.txt").open("a")
    return subprocess.Popen(argv, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=errors, text=True)


def ended(folder: Path, name: str, process: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
    """Its exit code and its last line."""
    out, _ = process.communicate(timeout=400)
    assert out.strip(), (folder / f"{name}.txt").read_text()[-3000:]
    return process.returncode, json.loads(out.strip().splitlines()[-1])


def verdicts(folder: Path, name: str) -> dict[str, int]:
    """The verdicts in the store, and when each was written."""
    place = folder / f"lake/runs/{name}@sweep/trials"
    return {str(path): path.stat().st_mtime_ns for path in place.glob("*/mark-*.json")}


@pytest.fixture(scope="module")
def grid(folder: Path) -> dict[str, Any]:
    """Every point in full."""
    code, found = ended(folder, "grid", start(folder, "grid", scheduler="none"))
    assert code == 0, (folder / "grid.txt").read_text()[-3000:]
    return found


def test_a_grid_is_trained_in_full_and_gives_a_runnable_configuration(folder: Path, grid: dict[str, Any]) -> None:
    trials = grid["trials"]
    assert [t["state"] for t in trials] == ["finished"] * 4
    assert {(t["config"]["optim.lr"], t["config"]["engine.batch_tokens"]) for t in trials} == {
        (lr, batch) for lr in SPACE["optim.lr"] for batch in SPACE["engine.batch_tokens"]
    }
    assert [t["score"] for t in trials] == sorted(t["score"] for t in trials)
    assert grid["full_tokens"] == 4 * grid["marks"][-1]
    assert 0 <= TOKENS - grid["marks"][-1] < 9 * 64, "the first mark, a ninth, holds whole rows of 64 tokens"
    batches = sum(t["config"]["engine.batch_tokens"] for t in trials)  # a trial stops below a mark by less than a batch
    assert grid["full_tokens"] - batches < grid["tokens"] <= grid["full_tokens"]
    assert grid["best"]["score"] < 0.8 * max(score for _, score in grid["best"]["marks"])
    argv = [sys.executable, "-m", "ray_jobs", "run", "-c", grid["best_yaml"], "--dry-run", "--json"]
    told = subprocess.run(argv, cwd=folder, env=environment(), capture_output=True, text=True, check=True)
    assert json.loads(told.stdout.splitlines()[-1])["optim"]["lr"] == grid["best"]["config"]["optim.lr"]
    assert (folder / "lake/runs/grid@sweep/report.html").read_text().count("<svg") >= 3
    groups = list((folder / "lake/runs/grid@sweep/wandb").rglob("*.wandb"))
    assert len(groups) == 4, "a W&B run a trial"
    assert any(b"grid@sweep" in path.read_bytes() for path in groups)
    kept = list((folder / "lake/runs/grid@sweep/trials").glob("*/checkpoints/*.json"))
    assert [path.parts[-3] for path in kept] == [grid["best"]["key"]], "only the best one's weights are kept"


def test_asha_trains_less_and_the_rest_is_the_same(folder: Path, grid: dict[str, Any]) -> None:
    code, found = ended(folder, "asha", start(folder, "asha", scheduler="asha", concurrent=1))
    full = {t["key"]: t for t in grid["trials"]}
    assert code == 0
    assert found["tokens"] < grid["tokens"]
    assert {t["state"] for t in found["trials"]} == {"finished", "stopped"}
    for trial in found["trials"]:
        assert trial["marks"] == full[trial["key"]]["marks"][: len(trial["marks"])], "the same up to where it went"


def test_killed_and_stopped_a_sweep_goes_on_and_repeats_nothing(folder: Path, grid: dict[str, Any]) -> None:
    for number, how in ((3, signal.SIGKILL), (7, signal.SIGTERM)):
        process = start(folder, "broken", scheduler="none")
        wait_until(
            lambda number=number: len(verdicts(folder, "broken")) >= number,
            200,
            lambda: (folder / "broken.txt").read_text()[-3000:],
        )
        process.send_signal(how)
        assert process.wait(timeout=90) == (-signal.SIGKILL if how == signal.SIGKILL else 143)
        time.sleep(0.5)
    before = verdicts(folder, "broken")
    code, found = ended(folder, "broken", start(folder, "broken", scheduler="none"))
    after = verdicts(folder, "broken")
    assert code == 0
    assert {path: after[path] for path in before} == before, "no verdict was made again"
    full = {t["key"]: t["marks"] for t in grid["trials"]}
    assert {t["key"]: t["marks"] for t in found["trials"]} == full, "the same as undisturbed"
    code, found = ended(folder, "broken", start(folder, "broken", scheduler="none", tokens=2 * TOKENS))
    assert code == 2
    assert "sweep.tokens=32768 differs from 16384" in found["error"]


def test_a_population_hands_weights_over(folder: Path, grid: dict[str, Any]) -> None:
    space = {"optim.lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 3e-2}}
    code, found = ended(folder, "pbt", start(folder, "pbt", scheduler="pbt", trials=4, marks=3, space=space))
    assert code == 0
    by_key = {t["key"]: t for t in found["trials"]}
    assert len(by_key) == 12
    foreign = [t for t in by_key.values() if t["donor"] and t["donor"][3:] != t["key"][3:]]
    assert len(foreign) == 2, "one of four is replaced at each of two marks"
    for trial in foreign:
        rivals = [t["score"] for t in by_key.values() if t["key"][:3] == trial["donor"][:3]]
        assert by_key[trial["donor"]]["score"] == min(rivals)
    assert [step["tokens"] for step in found["history"]] == found["marks"]
    assert found["tokens"] == pytest.approx(4 * TOKENS, rel=0.1)


def test_tpe_with_two_workers_a_trial_learns_from_verdicts(folder: Path, grid: dict[str, Any]) -> None:
    pytest.importorskip("optuna")
    space = {
        "optim.lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 3e-2},
        "optim.schedule.kind": ["constant", "cosine"],
    }
    asked = {"scheduler": "median", "search": "tpe", "trials": 5, "space": space, "workers": 2, "tokens": TOKENS // 4}
    code, found = ended(folder, "tpe", start(folder, "tpe", **asked))
    assert code == 0
    assert len(found["trials"]) == 5
    assert all(t["state"] in ("finished", "stopped") for t in found["trials"])


def test_a_fork_starts_at_the_runs_last_commit_and_trains_what_came_after(folder: Path, grid: dict[str, Any]) -> None:
    recipe = yaml.safe_load(RECIPE) | {"name": "forked"}
    (folder / "run.yaml").write_text(yaml.safe_dump(recipe))
    argv = [sys.executable, "-m", "ray_jobs", "run", "-c", "run.yaml", "--json"]
    subprocess.run(argv, cwd=folder, env=environment(), capture_output=True, text=True, check=True, timeout=300)
    code, found = ended(folder, "forked", start(folder, "forked", start="latest", tokens=4096, marks=1))
    assert code == 2
    assert "more than the 0 tokens that wait behind the start of the sweep" in found["error"]
    write_documents(folder / "corpus/b.jsonl", 100, first=4000)
    code, found = ended(folder, "late", start(folder, "late", start="forked/" + _last(folder), tokens=4096, marks=1))
    assert code == 0, (folder / "late.txt").read_text()[-3000:]
    assert found["start"].startswith("forked/")
    assert found["best"]["fresh"] is not None
    assert found["best"]["old"] is not None
    assert found["best"]["marks"][0][1] < 0.9 * grid["best"]["marks"][0][1], "it begins with what the run had learned"


def _last(folder: Path) -> str:
    return sorted(path.stem for path in (folder / "lake/runs/forked/checkpoints").glob("*.json"))[-1]
