"""Is the mixture of a running run changed by the command, and is nothing lost when it is killed then?"""

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from cluster.storage.store import Store
from data_ops.lake.lake import Lake
from data_ops.rounds.manifest import Manifest, Mixed
from tests.support.runs import RECIPE, end_all, environment, finish, kill, start, wait_for, write_documents

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1500)]
SOURCES = """sources:
  big: {kind: files, path: "big/*.jsonl", text: body, time: at}
  small: {kind: files, path: "small/*.jsonl", text: body, time: at}
mixture: {shares: {big: 0.5, small: 0.5}}
"""
LINES = RECIPE.splitlines()
MIXED = "\n".join(SOURCES if line.startswith("sources:") else line for line in LINES)
MIXED = MIXED.replace("tokens: 8192", "tokens: 4096").replace("max_documents: 60", "max_documents: 400")


@pytest.fixture(autouse=True, scope="module")
def leave_nothing_running() -> Iterator[None]:
    """A failed test must not leave a run behind."""
    yield
    end_all()


def mix(folder: Path, *words: str) -> dict[str, Any]:
    """Type `headrace mix` beside the run."""
    argv = [sys.executable, "-m", "ray_jobs", "mix", *words, "-c", "run.yaml", "--json"]
    done = subprocess.run(argv, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return told


def mixes_of(lake: Lake) -> list[Mixed]:
    """By what each round was cut."""
    table = lake.rounds("small")
    return [m.mix for m in (Manifest.from_row(table, index) for index in range(table.num_rows)) if m.mix]


def plentiful(mix: Mixed) -> bool:
    """Was the round cut by the changed mixture while there was enough of both?"""
    return mix.version == 1 and not mix.dry and set(mix.tokens) == {"big", "small"}


def test_a_running_run_takes_a_change_at_the_next_round_and_a_kill_behind_it_changes_nothing(tmp_path: Path) -> None:
    write_documents(tmp_path / "big/a.jsonl", 80)
    write_documents(tmp_path / "small/a.jsonl", 80, first=1000)
    driver = start(tmp_path, "engine.workers=1", "--follow", recipe=MIXED)
    wait_for(tmp_path, driver, lambda told: any(e["event"] == "round" and e["round"] == 1 for e in told))
    told = mix(tmp_path, "set", "big=0.8", "small=0.2")
    assert told["version"] == 1
    lake = Lake(Store.open(str(tmp_path / "lake")))
    for number in count(1):  # only now, however fast the run has been, and until both had enough at once
        planned = len(mixes_of(lake))
        write_documents(tmp_path / f"small/b{number}.jsonl", 50, first=10_000 * number)
        write_documents(tmp_path / f"big/b{number}.jsonl", 200, first=10_000 * number + 5_000)
        wait_for(tmp_path, driver, lambda told, n=planned: sum(e["event"] == "round" for e in told) > n)
        if any(plentiful(mix) for mix in mixes_of(lake)):
            break
    kill(driver)
    before = lake.rounds("small")["plan"].to_pylist()
    code, summary = finish(start(tmp_path, "engine.workers=1", recipe=MIXED))
    assert code == 0, (tmp_path / "stderr.txt").read_text()[-3000:]
    table = lake.rounds("small")
    assert table["plan"].to_pylist()[: len(before)] == before, "what was planned is what was trained"
    mixes = mixes_of(lake)
    versions = [one.version for one in mixes]
    assert versions == sorted(versions) and {0, 1} == set(versions) and len(versions) == table.num_rows
    assert all(set(one.tokens) == {"big", "small"} for one in mixes[:2]), "both are in every round from the first"
    changed = [one.tokens for one in mixes if plentiful(one)]
    big, small = (sum(tokens[label] for tokens in changed) for label in ("big", "small"))
    assert abs(big / (big + small) - 0.8) < 0.08
    documents = summary["documents"]
    assert (documents["pending"], documents["trained"]) == (0, documents["kept"]) and summary["ok"]
    shown = mix(tmp_path, "show")
    assert shown["in_force"] == 1 and shown["waiting_tokens"] == {}
