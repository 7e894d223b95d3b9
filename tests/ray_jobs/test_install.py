"""Does the wheel work by itself: in an environment of its own, an empty folder, beside a `models/` of the user's?

The packages that it needs are borrowed from this environment; everything of ours comes from the wheel.
"""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from ray_jobs.names import PACKAGES
from tests.support.root import ROOT
from tests.support.runs import environment

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands of an environment into which the wheel was installed."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"
    wanted = [*PACKAGES, "headrace.py", "pyproject.toml", "README.md", "LICENSE"]
    copy.mkdir()
    subprocess.run(["cp", "-r", *(str(ROOT / name) for name in wanted), str(copy)], check=True)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(folder), str(copy)]
    subprocess.run(build, check=True)
    venv.create(folder / "env", with_pip=True)
    commands = folder / "env" / "bin"
    (wheel,) = folder.glob("*.whl")
    subprocess.run([commands / "pip", "install", "-q", "--no-deps", str(wheel)], check=True)
    return commands


def run(commands: Path, folder: Path, *arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a command of the new environment in a folder."""
    env = environment() | {"PYTHONPATH": sysconfig.get_path("purelib")}
    command = [str(commands / arguments[0]), *arguments[1:]]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=timeout_s)


def test_the_demo_runs_in_an_empty_folder(installed, tmp_path):
    small = ["sources.python.megabytes=0.3", "model.width=32", "model.layers=1"]
    done = run(installed, tmp_path, "headrace", "run", "-c", "demo", "--json", *small, timeout_s=600)
    assert done.returncode == 0, done.stderr[-3000:]
    proof = run(installed, tmp_path, "headrace", "verify", "store=./demo")
    assert "proved   run demo" in proof.stdout, proof.stderr


def test_the_shell_completes(installed, tmp_path):
    done = run(installed, tmp_path, "headrace", "--show-completion", "bash")
    assert "_HEADRACE_COMPLETE" in done.stdout + done.stderr


def test_a_program_with_models_of_its_own_imports_headrace_from_the_wheel(installed, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").write_text("MINE = True\n")
    program = "import headrace, models; assert models.MINE; print(headrace.__file__)"
    done = run(installed, tmp_path, "python", "-c", program)
    assert done.returncode == 0, done.stderr
    assert str(installed.parent) in done.stdout
