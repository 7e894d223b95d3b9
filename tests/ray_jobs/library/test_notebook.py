"""Does the notebook of the docs run as it stands?"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.root import ROOT
from tests.support.runs import environment

NOTEBOOK = ROOT / "docs" / "examples" / "notebook.ipynb"


def cells(kind: str) -> list[str]:
    """The cells of one kind, in order."""
    told = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in told["cells"] if cell["cell_type"] == kind]


def test_a_notebook_is_kept_without_what_it_once_printed():
    told = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert not [cell for cell in told["cells"] if cell.get("outputs") or cell.get("execution_count")]


@pytest.mark.ray
def test_every_cell_runs_and_each_note_is_trained_once(tmp_path: Path):
    ending = "print(account.trained, account.held_out, account.read)"
    program = "\n\n".join([*cells("code"), ending])
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr[-3000:]
    trained, held_out, read = map(int, done.stdout.split()[-3:])
    assert (trained + held_out, read) == (400, 400)
