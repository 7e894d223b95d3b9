"""Can what a stranger wrote steer the terminal of who reads it?"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.readable import CONTROL
from ray_jobs.command_line.ending import fail, show, tell
from ray_jobs.commands.tracing import trace_lines
from tests.support.root import ROOT

EVIL = "a\x1b]0;owned\x07\x1b[31m\x9b2J\u202egnp.exe\u2066\u200f\n\rfake   line\x08\x7f"
STORY = {
    "id": "ab" * 16,
    "source": EVIL,
    "partition": EVIL,
    "offset": 3,
    "external_id": EVIL,
    "arrived": None,
    "window": 1,
    "position": 2,
    "event_time": None,
    "time_note": EVIL,
    "fate": "kept",
    "reason": EVIL,
    "meaning": EVIL,
    "repeats": EVIL,
    "preview": EVIL,
    "repeated_by": [EVIL],
    "runs": [],
    "branches": [],
    "champion": None,
}


def harmless(text: str) -> bool:
    return not any(CONTROL.search(line) for line in text.split("\n"))


def test_every_writer_for_people_writes_it_visibly(capsys: pytest.CaptureFixture[str]) -> None:
    show(trace_lines(STORY))
    tell(f"exported to {EVIL}")
    with pytest.raises(SystemExit):
        fail(2, f"cannot read {EVIL}")
    out, err = capsys.readouterr()
    assert harmless(out) and harmless(err)
    assert out.count("\n") == len(trace_lines(STORY)), "and makes no line of its own"
    assert r"\x1b]0;owned\x07" in out and r"\u202e" in out and r"\x9b2J" in err


@pytest.mark.slow
def test_a_file_name_in_a_warning_and_in_a_failure_is_written_visibly(tmp_path: Path) -> None:
    script = (
        "import logging, sys\nfrom cluster.telemetry.logs import setup_logging\nsetup_logging()\n"
        f"logging.getLogger('data_ops.x').warning('%s is odd', {EVIL!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert harmless(done.stderr) and r"\x1b]0;owned" in done.stderr and done.stderr.count("\n") == 1
    name = str(tmp_path / "x\x1b[31m\x9b.yaml")
    argv = [sys.executable, "-m", "ray_jobs", "status", "-c", name, "--json"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and harmless(done.stderr) and harmless(done.stdout)
    assert json.loads(done.stdout)["error"].startswith(f"-c {name} is neither")


def test_a_sentence_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        fail(2, "optim.lrr is unknown\noptim.lrr is unknown\nname is missing")
    assert capsys.readouterr().err.splitlines() == ["optim.lrr is unknown", "name is missing"]
