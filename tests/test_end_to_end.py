"""The whole loop, with real processes; what happens when it is broken is in test_chaos.py."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runs import command, end_all, finish, start, wait_for, windows, write_documents

pytestmark = pytest.mark.ray


@pytest.fixture(autouse=True)
def leave_nothing_running() -> Iterator[None]:
    """A failed test must not leave a run behind."""
    yield
    end_all()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run of 600 documents that nobody disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write_documents(folder / "corpus/a.jsonl", 600)
    code, summary = finish(start(folder))
    assert code == 0, (folder / "stderr.txt").read_text()[-3000:]
    return folder, summary


def test_a_run_trains_every_kept_document_and_learns(undisturbed: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = undisturbed
    documents = summary["documents"]
    assert documents["read"] == 600
    assert documents["trained"] == documents["kept"] > 500
    assert documents["held_out"] == 600 - documents["kept"] > 30
    assert summary["loss"]["last"] < 0.8 * summary["loss"]["first"]
    assert all(found["after"] < found["before"] for found in summary["bits_per_byte"].values())
    assert summary["promoted"]
    champion = json.loads((folder / "lake/registry/champion.json").read_text())
    assert champion["checkpoint"] == summary["checkpoint"]
    assert champion["weights_sha256"] == summary["weights_sha256"]
    assert "<svg" in (folder / "lake/runs/small/report.html").read_text()


def test_verify_status_and_export_work_on_a_finished_run(undisturbed: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = undisturbed
    code, audit = command(folder, "verify")
    assert code == 0
    assert audit["ok"] and audit["lost"] == audit["repeated"] == 0
    assert audit["read"] == audit["trained"] + audit["held_out"]
    code, found = command(folder, "status")
    assert code == 0
    assert found["runs"][0]["step"] == summary["steps"]
    assert found["runs"][0]["driver"] is None
    code, exported = command(folder, "export", "--to=model")
    assert code == 0
    assert (Path(exported["directory"]) / "model.safetensors").exists()


def test_a_corpus_that_grows_twice_is_trained_once_at_any_number_of_workers(tmp_path: Path) -> None:
    write_documents(tmp_path / "corpus/a.jsonl", 120)
    driver = start(tmp_path, "engine.workers=1", "engine.zero_stage=1")
    wait_for(tmp_path, driver, lambda told: windows(told) >= 1)
    code, said = finish(start(tmp_path))  # a second driver of a live run is refused
    assert code == 2
    assert f"process {driver.pid}" in said["error"]
    code, first = finish(driver)
    assert code == 0, (tmp_path / "stderr.txt").read_text()[-3000:]

    write_documents(tmp_path / "corpus/a.jsonl", 60, first=120, append=True)
    code, second = finish(start(tmp_path, "engine.workers=2", "engine.zero_stage=3"))
    assert code == 0, (tmp_path / "stderr.txt").read_text()[-3000:]
    assert second["resumed_from"] == first["steps"]

    write_documents(tmp_path / "corpus/b.jsonl", 60, first=180)
    code, third = finish(start(tmp_path, "engine.workers=1", "engine.zero_stage=2"))
    assert code == 0, (tmp_path / "stderr.txt").read_text()[-3000:]
    for summary, read in ((first, 120), (second, 180), (third, 240)):
        documents = summary["documents"]
        assert documents["read"] == read
        assert documents["trained"] == documents["kept"] == read - documents["held_out"]
    audit = command(tmp_path, "verify")[1]
    assert audit["ok"], audit
    code, again = finish(start(tmp_path))
    assert code == 0
    assert again["steps"] == third["steps"]
    assert again["weights_sha256"] == third["weights_sha256"]
