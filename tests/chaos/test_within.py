"""Does the breaking machine mislead a process from within as it says?"""

import math
import os
import subprocess
import sys
import time

import pytest

from tests.chaos.life import WITHIN_PROCESSES
from tests.support.runs import ROOT

pytestmark = pytest.mark.slow
LOSS = """
import sys, torch
from models.kinds.loss import Head
head = Head(8, 16, 16)
torch.nn.init.normal_(head.weight)
def loss():
    return float(head(torch.ones(1, 4, 8, requires_grad=True), torch.ones(1, 4, dtype=torch.int32)))
before = loss()
open(sys.argv[1], "w").write(sys.argv[2])
print(loss() / before, loss() / before)
"""


def say(folder, code, *arguments):
    """What a Python says that runs `code` with this folder's files."""
    paths = f"{WITHIN_PROCESSES}{os.pathsep}{ROOT}"
    env = {**os.environ, "PYTHONPATH": paths, "CHAOS_FOLDER": str(folder)}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    return done.stdout.split(), done.stderr


def test_a_clock_is_behind_by_what_its_file_says_and_is_pickled_as_the_true_one(tmp_path):
    (tmp_path / "clock").write_text("3600")
    code = "import pickle, time; print(pickle.loads(pickle.dumps(time.time))(), time.time_ns() / 1e9)"
    told, _ = say(tmp_path, code)
    assert [float(one) for one in told] == pytest.approx([time.time() - 3600] * 2, abs=60)
    (tmp_path / "clock").unlink()
    told, _ = say(tmp_path, code)
    assert [float(one) for one in told] == pytest.approx([time.time()] * 2, abs=60)


@pytest.mark.parametrize(("poison", "factor"), [("nan", math.nan), ("1024", 1024.0)])
def test_a_poisoned_loss_is_wrong_once(poison, factor, tmp_path):
    told, errors = say(tmp_path, LOSS, str(tmp_path / "poison"), poison)
    assert [float(one) for one in told] == pytest.approx([factor, 1.0], nan_ok=True), errors
    assert not (tmp_path / "poison").exists()


def test_a_process_without_memory_is_refused_more(tmp_path):
    told, errors = say(tmp_path, LOSS, str(tmp_path / "poison"), "memory")
    assert told == []
    assert "can't allocate memory" in errors
