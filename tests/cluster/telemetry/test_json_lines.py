"""Does the event log outlive a full disk, without a torn or a missing line?"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.storage.store import Store
from cluster.telemetry.json_lines import JsonLines
from cluster.telemetry.sinks import Telemetry
from tests.support.root import ROOT

PATH = "runs/news/metrics.jsonl"
FULL = """
import resource, signal, sys
from cluster.storage.store import Store
from cluster.telemetry.json_lines import JsonLines
from cluster.telemetry.logs import setup_logging
setup_logging()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = JsonLines(Store.open(sys.argv[1]), "runs/news/metrics.jsonl")
for most in (1000, 1013, 2500, resource.RLIM_INFINITY):  # bytes a file may have: a write beyond is short, then refused
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
    for number in range(30):
        log.log({"event": "step", "most": most, "number": number})
    if most == 1000:
        held = open(sys.argv[1] + "/runs/news/metrics.jsonl", "rb").read()
        assert held.endswith(b"}\\n") and 900 < len(held) <= 1000, held[-50:]
log.close()
"""


def test_a_disk_that_is_full_and_freed_again_costs_no_line_and_no_run(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / PATH).read_text().splitlines()]
    assert [line["number"] for line in lines] == [*range(30)] * 4
    told = done.stderr.splitlines()
    assert "takes no lines, they are kept in memory for now: [Errno 28] the disk is full" in told[0]
    assert told[-1].endswith("takes lines again; none is missing") and len(told) <= 6, told


def test_what_never_reached_the_disk_is_said_at_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / PATH).mkdir(parents=True)  # a folder takes no lines
    log = JsonLines(Store.open(str(tmp_path)), PATH)
    log.log({"event": "step"})
    log.close()
    assert "17 bytes of events are not in" in caplog.text


def test_memory_for_a_disk_that_stays_full_is_bounded(tmp_path: Path) -> None:
    (tmp_path / PATH).mkdir(parents=True)
    log = JsonLines(Store.open(str(tmp_path)), PATH, most_waiting=100)
    for number in range(50):
        log.log({"number": number})
    (tmp_path / PATH).rmdir()
    log.log({"number": 50})
    kept = [json.loads(line)["number"] for line in (tmp_path / PATH).read_text().splitlines()]
    assert kept == [*range(51 - len(kept), 51)] and 5 <= len(kept) <= 8


def test_a_sink_that_fails_neither_ends_a_run_nor_hides_events_from_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Full:
        def log(self, event: object) -> None:
            raise OSError(28, "No space left on device")

    class Fine:
        def __init__(self) -> None:
            self.seen: list[object] = []

        def log(self, event: object) -> None:
            self.seen.append(event)

    fine = Fine()
    telemetry = Telemetry([Full(), fine])  # type: ignore[list-item]
    for step in range(3):
        telemetry.log({"event": "step", "step": step})
    assert len(fine.seen) == 3
    assert [record.getMessage() for record in caplog.records] == [
        "Full takes no events for now: [Errno 28] No space left on device"
    ]
