"""Is a task asked of candidate and champion where a run is judged, and told in decision, store and report?"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.storage.store import Store
from ray_jobs.evaluation.harness.result import results_of
from tests.support.imports.late import late
from tests.support.root import ROOT
from tests.support.runs import command, end_all, finish, start, write_documents

late("lm_eval")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(1500)]

EXAM = """
task: exam
dataset_path: json
dataset_kwargs: {data_files: {test: exam.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: choices
doc_to_target: gold
metric_list: [{metric: acc}]
"""
ASKED = ("held_out=40%", "evaluate.tasks=[{kind: lm_eval, file: tasks/exam.yaml, limit: 8}]")


@pytest.fixture(autouse=True, scope="module")
def leave_nothing_running() -> Iterator[None]:
    """A failed test must not leave a run behind."""
    yield
    end_all()


def run(folder: Path) -> dict[str, Any]:
    """Train on what is new, be judged, and return the summary."""
    found = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    code, summary = finish(start(folder, *ASKED, more={"PYTHONPATH": found}), 900)
    assert code == 0, (folder / "stderr.txt").read_text()[-3000:]
    return summary


def test_candidate_and_champion_are_asked_and_the_report_shows_both(tmp_path: Path) -> None:
    questions = [{"question": f"After {n} comes", "choices": [str(n + 1), str(n + 2)], "gold": 0} for n in range(20)]
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "exam.yaml").write_text(EXAM)
    (tmp_path / "tasks" / "exam.jsonl").write_text("\n".join(json.dumps(question) for question in questions))
    write_documents(tmp_path / "corpus/a.jsonl", 150)
    first = run(tmp_path)
    assert first["verdict"] == "promoted" and '"exam"' not in (tmp_path / "lake/runs/small/metrics.jsonl").read_text()
    write_documents(tmp_path / "corpus/b.jsonl", 150, first=150)
    second = run(tmp_path)
    assert second["verdict"] in ("promoted", "refused"), second["reasons"]
    store = Store.open(str(tmp_path / "lake"))
    champion, candidate = first["checkpoint"], second["checkpoint"]
    for name in (champion, candidate):
        (result,) = results_of(store, name)
        assert (result.task, result.judged, len(result.items)) == ("exam", "acc", 8)
    told = [json.loads(line) for line in (tmp_path / "lake/runs/small/metrics.jsonl").read_text().splitlines()]
    (judged,) = (event["tasks"] for event in told if event["event"] == "judged" and event.get("tasks"))
    assert judged["exam"] == [results_of(store, name)[0].figures["acc"].value for name in (champion, candidate)]
    page = (tmp_path / "lake/runs/small/report.html").read_text()
    assert "Champion after champion" in page and ">exam<" in page and ">not asked<" in page
    code, proved = command(tmp_path, "verify", "--deep", timeout_s=600)
    assert (code, proved["ok"]) == (0, True)
