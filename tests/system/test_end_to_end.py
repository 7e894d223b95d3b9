"""The whole loop, with real processes; what happens when it is broken is in test_chaos.py."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.runs import command, end_all, finish, start, wait_for, windows, write_documents

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1500)]
EACH = 200  # documents that arrive before each run


@pytest.fixture(autouse=True, scope="module")
def leave_nothing_running() -> Iterator[None]:
    """A failed test must not leave a run behind."""
    yield
    end_all()


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Three runs of one name, while the corpus grows twice, at other numbers of workers and ZeRO stages."""
    folder = tmp_path_factory.mktemp("grown")
    write_documents(folder / "corpus/a.jsonl", EACH)
    registry = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    driver = start(folder, "engine.workers=1", "engine.zero_stage=1", "telemetry.mlflow=small", more=registry)
    wait_for(folder, driver, lambda told: windows(told) >= 1)
    driver.send_signal(signal.SIGSTOP)  # so that it lives, however long the second one takes to look
    try:
        code, said = finish(start(folder))
    finally:
        driver.send_signal(signal.SIGCONT)
    assert (code, f"process {driver.pid}" in said["error"]) == (2, True), "a second driver of a live run is refused"
    summaries = [ended(folder, driver)]
    write_documents(folder / "corpus/a.jsonl", EACH, first=EACH, append=True)
    summaries.append(ended(folder, start(folder, "engine.workers=2", "engine.zero_stage=3")))
    write_documents(folder / "corpus/b.jsonl", EACH, first=2 * EACH)
    summaries.append(ended(folder, start(folder, "engine.workers=1", "engine.zero_stage=2")))
    return folder, summaries


def ended(folder: Path, driver: Any) -> dict[str, Any]:
    """The summary of a run that ends well."""
    code, summary = finish(driver)
    assert code == 0, (folder / "stderr.txt").read_text()[-3000:]
    return summary


def test_each_run_trains_what_is_new_once(grown: tuple[Path, list[dict[str, Any]]]) -> None:
    for number, summary in enumerate(grown[1], start=1):
        documents = summary["documents"]
        assert documents["read"] == number * EACH
        assert documents["trained"] == documents["kept"] == number * EACH - documents["held_out"]
    first, second, third = grown[1]
    assert (second["resumed_from"], third["resumed_from"]) == (first["steps"], second["steps"])
    assert third["documents"]["held_out"] > 30


def test_it_learns_and_a_better_model_becomes_the_champion(grown: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, (first, _, third) = grown
    assert third["loss"]["last"] < 0.8 * third["loss"]["first"]
    assert all(found["after"] < found["before"] for found in first["bits_per_byte"].values())
    assert first["promoted"] and third["reasons"]
    promoted = [summary for summary in grown[1] if summary["promoted"]][-1]  # the gate may well refuse a later one
    champion = json.loads((folder / "lake/registry/champion.json").read_text())
    assert champion["checkpoint"] == promoted["checkpoint"]
    assert champion["weights_sha256"] == promoted["weights_sha256"]
    assert "<svg" in (folder / "lake/runs/small/report.html").read_text()
    uri = f"sqlite:///{folder}/mlflow.db"
    from mlflow import MlflowClient  # a second, in each process that collects tests

    registered = MlflowClient(tracking_uri=uri, registry_uri=uri).get_model_version_by_alias("small", "champion")
    assert registered.tags["headrace.weights_sha256"] == first["weights_sha256"]


def test_verify_status_trace_and_export_work_on_a_finished_run(grown: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, summaries = grown
    code, audit = command(folder, "verify")
    assert code == 0
    assert audit["ok"] and audit["lost"] == audit["repeated"] == 0
    assert audit["read"] == audit["trained"] + audit["held_out"] == 3 * EACH
    code, found = command(folder, "status")
    assert code == 0
    assert found["runs"][0]["step"] == summaries[-1]["steps"]
    assert found["runs"][0]["driver"] is None
    code, told = command(folder, "trace", f"wire:{folder / 'corpus/b.jsonl'}:7")
    assert code == 0
    assert "Document 407:" in json.dumps(told)
    code, exported = command(folder, "export", "--to=model")
    assert code == 0
    assert (Path(exported["directory"]) / "model.safetensors").exists()
    promoted = [summary for summary in summaries if summary["promoted"]]
    code, card = command(folder, "registry", "card", "--out=card")
    assert (code, card["checkpoint"]) == (0, promoted[-1]["checkpoint"])
    assert sum(one["read"] for one in card["counts"]) == audit["read"] and card["steps"] > 0 < card["seconds"]
    trained = sum(one["trained"] for one in card["counts"])
    assert trained == promoted[-1]["documents"]["trained"], "what its run had trained when it was promoted"
    assert f"{trained:,}" in (Path(exported["directory"]) / "README.md").read_text()
    code, listed = command(folder, "registry", "list")
    assert code == 0
    assert [row["checkpoint"] for row in listed["champions"]] == [summary["checkpoint"] for summary in promoted]
