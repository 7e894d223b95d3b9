"""Does a folder of the user's that holds packages of our names leave us, and them, alone?"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.root import ROOT
from tests.support.runs import environment

pytestmark = pytest.mark.slow

THEIRS = ("models", "tune", "cluster", "data_ops")


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A folder with packages of their own, each with a module that ours do not have."""
    for name in THEIRS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
        (tmp_path / name / "mine.py").write_text("WHOSE = 'theirs'\n")
    return tmp_path


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, ours being installed."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=120)


def test_the_command_works_in_such_a_folder(theirs):
    done = python(theirs, "-m", "ray_jobs", "run", "-c", "demo", "--dry-run", "--json")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_program_has_its_own_models_and_tune_beside_headrace(theirs):
    program = """
import sys, models.mine, headrace, tune.mine
from models import mine
ours = {name for name in sys.modules if name.startswith(("models.", "tune."))} - {"models.mine", "tune.mine"}
assert not ours, f"an editable install finds {ours} all the same, a wheel does not"
assert mine.WHOSE == tune.mine.WHOSE == 'theirs'
assert headrace.FeedConfig().row_tokens == 1024
"""
    assert python(theirs, "-c", program).stderr == ""
    assert python(theirs, "-c", "import headrace, models.mine, tune.mine").stderr == ""


def test_a_package_of_theirs_that_we_need_and_that_came_first_is_named(theirs):
    said = python(theirs, "-c", "import cluster.mine, headrace").stderr
    assert f"a package cluster of its own ({theirs}/cluster/__init__.py), and headrace needs that name" in said


def test_ours_are_those_beside_ray_jobs_whatever_the_path_says(theirs):
    program = "import ray_jobs.names as n; n.claim(); import models, tune, cluster, data_ops.reservoir; print(models)"
    done = python(theirs, "-c", program)
    assert str(ROOT / "models") in done.stdout, done.stderr


WORKER = """
import sys
from cluster.runtime.config import ClusterConfig
from cluster.runtime.session import connect
import ray

def where():
    from ray_jobs.training.worker.loop import Worker
    import models, tune, cluster
    return [module.__file__ for module in (models, tune, cluster)]

with connect(ClusterConfig()):
    print(ray.get(ray.remote(where).remote()))
"""


@pytest.mark.ray
def test_a_ray_worker_that_is_started_from_such_a_folder_has_ours(theirs):
    (theirs / "drive.py").write_text("import ray_jobs.names; ray_jobs.names.claim()\n" + WORKER)
    done = python(theirs, "drive.py")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count(str(ROOT)) == 3, done.stdout
