"""Does a program start the command in a process of its own, and hear how it ended?"""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import headrace
from tests.support.root import ROOT
from tests.support.runs import environment, wait_until, write_documents

pytestmark = pytest.mark.slow

CONFIG = """{
    "name": "small", "store": "lake", "seed": 7, "tokenizer": {"kind": "bytes"}, "window": {"max_documents": 60},
    "sources": {"wire": {"kind": "files", "path": "corpus/*.jsonl", "text": "body", "time": "at"}},
    "reservoir": {"capacity": 80}, "round": {"tokens": 8192},
    "model": {"layers": 1, "width": 32, "heads": 2, "row_tokens": 64},
    "engine": {"workers": 1, "batch_tokens": 1024, "micro_batch_rows": 4}, "wandb": {"mode": "disabled"},
}"""


def test_what_the_user_can_mend_is_told_as_the_command_tells_it(tmp_path, capsys):
    with pytest.raises(headrace.ConfigError, match=r"optim.lrr is unknown; did you mean optim.lr\?"):
        headrace.run({"store": str(tmp_path), "optim": {"lrr": 1}})
    assert "optim.lrr" in capsys.readouterr().err, "its lines are passed through"
    with pytest.raises(headrace.ConfigError, match="neither a file nor a recipe"):
        headrace.ingest(str(tmp_path / "none.yaml"))


@pytest.fixture
def programs() -> Iterator[list[subprocess.Popen[str]]]:
    """Programs that were started; what a failed test left running is stopped by them, as it has sessions of its own."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for program in started:
        if program.poll() is None:
            program.send_signal(signal.SIGINT)
            program.communicate(timeout=240)


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_run_that_is_interrupted_commits_and_one_that_goes_on_ends_with_its_summary(tmp_path: Path, programs):
    write_documents(tmp_path / "corpus" / "a.jsonl", 150)
    # a shell that starts tests in the background lets them, and what they start, ignore ^C
    hears = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = f"{hears}; import headrace; outcome = headrace.run({CONFIG}, follow=FOLLOW); print(outcome.code)"
    told = (tmp_path / "told.txt").open("w")

    def start(follow: bool) -> subprocess.Popen[str]:
        code = program.replace("FOLLOW", str(follow))
        argv, env = [sys.executable, "-c", code], environment()
        programs.append(subprocess.Popen(argv, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=told, text=True))
        return programs[-1]

    first = start(follow=True)
    metrics = tmp_path / "lake" / "runs" / "small" / "metrics.jsonl"
    wait_until(lambda: metrics.exists() and '"step"' in metrics.read_text(), 240, (tmp_path / "told.txt").read_text)
    first.send_signal(signal.SIGINT)  # of this process alone, as the stop button of a notebook does
    assert first.communicate(timeout=240)[0].split()[-1] == "143", (tmp_path / "told.txt").read_text()[-2000:]
    done = start(follow=False)
    assert done.communicate(timeout=400)[0].split()[-1] == "0", (tmp_path / "told.txt").read_text()[-2000:]
    account = headrace.verify(str(tmp_path / "lake"))
    assert (account.ok, account.pending, account.read) == (True, 0, 150)
    assert headrace.open(str(tmp_path / "lake")).champion()
    assert str(ROOT) not in (tmp_path / "told.txt").read_text(), "no traceback of ours"
