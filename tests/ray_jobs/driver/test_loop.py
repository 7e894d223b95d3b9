"""Is what fails while a run is driven told as what it is?"""

import contextlib
import threading
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from ray.exceptions import RayActorError, RayTaskError

from ray_jobs.config.schema import Config
from ray_jobs.driver import loop as driving
from ray_jobs.driver import run as running
from ray_jobs.ingest import opening
from ray_jobs.outcome import ClusterLostError, causes_told
from ray_jobs.training.group import training
from tests.support.checkpoints import commit_at


def run_that_fails(error: Exception, folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`run`, whose drive fails with this."""

    def fail(*given: Any, **named: Any) -> None:
        raise error

    session = contextlib.nullcontext()
    monkeypatch.setattr(running, "connect", lambda *given, **named: session)
    monkeypatch.setattr(running, "stop_on_signal", lambda: contextlib.nullcontext(threading.Event()))
    monkeypatch.setattr(opening, "open_store", lambda *given, **named: SimpleNamespace(warnings=(), tokenizer=None))
    monkeypatch.setattr(training, "Training", lambda *given, **named: None)
    monkeypatch.setattr(driving, "drive", fail)
    display: Any = None
    running.run(Config.model_validate({"name": "news", "store": str(folder)}), display)


def test_a_call_that_failed_on_a_cluster_that_is_there_is_told_by_its_cause(tmp_path, monkeypatch):
    failed = RayTaskError("score", "Traceback", OSError("the network failed 9 times")).as_instanceof_cause()
    with pytest.raises(RuntimeError, match=r"^a part of the run failed: the network failed 9 times$") as caught:
        run_that_fails(failed, tmp_path, monkeypatch)
    assert not isinstance(caught.value, ClusterLostError)


def test_a_sweep_tells_such_a_call_apart_too():
    failed = RayTaskError("score", "Traceback", OSError("the network failed 9 times")).as_instanceof_cause()
    with pytest.raises(RuntimeError, match=r"^a part of the sweep failed: the network failed 9 times$"):  # noqa: SIM117
        with causes_told("sweep"):
            raise failed


def test_a_cluster_that_is_gone_is_told_so(tmp_path, monkeypatch):
    with pytest.raises(ClusterLostError, match="the Ray cluster was lost"):
        run_that_fails(RayActorError(), tmp_path, monkeypatch)


@pytest.mark.parametrize("where", ["held", "note_stand"])
def test_a_note_that_a_network_refuses_does_not_hold_up_the_end(where, monkeypatch):
    notes: list[str] = []

    def away(*given: Any) -> bool:
        raise OSError("the network failed")

    monkeypatch.setattr(driving, "note_stand", away)
    lease = SimpleNamespace(held=away if where == "held" else lambda store: True)
    opened, display = SimpleNamespace(store=None, lake=None), SimpleNamespace(note=notes.append)
    none: Any = None
    run = driving.Drive(none, opened, none, SimpleNamespace(lease=lease), threading.Event(), display)
    driving._note(run, commit_at("news", 3, 0, 3))
    assert notes == ["checkpoint news/00000003 is not in the ledger; the next start notes it: the network failed"]


@pytest.mark.parametrize(("asked", "code"), [("while it trains", 143), ("while it is written down", 0)])
def test_a_stop_that_comes_when_all_is_trained_finds_nothing_to_stop(asked, code, monkeypatch):
    run, stopped = MagicMock(), threading.Event()
    run.config.name, run.training.placement.workers = "news", 2
    run.stopped, run.training.failure, run.config.sources = stopped, None, {"live": SimpleNamespace(IS_SAMPLE=False)}

    def train(*given: Any) -> None:
        if asked == "while it trains":
            stopped.set()

    def write_down(*given: Any) -> dict[str, Any]:
        stopped.set()
        return {"ok": True, "tokens": 0}

    for name, fake in (("_listen", train), ("write_down", write_down), ("JsonLines", MagicMock())):
        monkeypatch.setattr(driving, name, fake)
    for name in ("open_telemetry", "_header", "Meter"):
        monkeypatch.setattr(driving, name, MagicMock())
    monkeypatch.setattr("ray_jobs.checkpoints.manifest.latest", lambda *given: None)
    assert driving.drive(run, judged=True).code == code
    assert run.display.done.called == (code == 0)
    assert run.display.note.called == (code == 143)
