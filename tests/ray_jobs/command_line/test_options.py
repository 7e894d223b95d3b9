"""Does every command say what can be typed, and is what is typed understood?"""

import os
import subprocess
import sys
from importlib.metadata import version

import pytest
import typer.main
from typer.testing import CliRunner

from ray_jobs.__main__ import app
from tests.support.root import ROOT

COMMANDS = sorted(typer.main.get_command(app).commands)
WIDE = {"COLUMNS": "200", "TERM": "dumb"}


def typed(*words: str) -> str:
    """What is printed for a command line that is answered without doing anything."""
    done = CliRunner().invoke(app, words, env=WIDE, prog_name="headrace")
    assert done.exit_code == 0, done.output
    return done.output


def test_the_version_is_told() -> None:
    assert typed("--version") == f"headrace {version('headrace')}\n"


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_shows_its_arguments_and_two_examples(command: str) -> None:
    shown = typed(command, "-h")
    assert "KEY=VALUE]..." in shown or command in ("schema", "init", "listen")
    assert shown.count(f" headrace {command}") >= 3, "the usage and two examples"
    assert "--help" in shown and "-h" in shown


def test_the_help_of_plan_names_its_keys() -> None:
    assert "plan.parameters" in typed("plan", "-h") and "plan.days" in typed("plan", "-h")


@pytest.mark.slow
@pytest.mark.parametrize(("line", "offered"), [("headrace ver", "verify"), ("headrace run -c de", "demo")])
def test_a_shell_completes_commands_and_recipes(line: str, offered: str) -> None:
    asked = {"_HEADRACE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    argv = [sys.executable, "-m", "ray_jobs"]
    done = subprocess.run(argv, cwd=ROOT, env=os.environ | asked, capture_output=True, text=True, timeout=120)
    assert offered in done.stdout.split(), done.stderr
