"""Does a trigger of real processes start a run once, also where it is killed, and end cleanly when it is stopped?"""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.storage.store import Store
from ray_jobs.commands.submit import written_config
from ray_jobs.trigger.starts import read_past
from tests.ray_jobs.trigger.test_command import config_of, write
from tests.support.root import ROOT
from tests.support.runs import wait_until

pytestmark = pytest.mark.slow


class Triggers:
    """Triggers of one configuration, in processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        config = config_of(folder, documents=3, look_every="200ms")
        self.store = Store.open(config.store)
        (folder / "run.yaml").write_text(written_config(config))
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "tests.ray_jobs.trigger.played_run", "trigger", "-c", f"{self.folder}/run.yaml"]
        with (self.folder / "told.txt").open("ab") as told:
            self.started.append(subprocess.Popen(argv, cwd=ROOT, stdout=told, stderr=told))
        return self.started[-1]

    def told(self) -> str:
        return (self.folder / "told.txt").read_text()[-3000:]

    def files(self, kind: str) -> int:
        return len(list(self.folder.glob(f"{kind}-*")))

    def wait(self, kind: str, count: int = 1) -> None:
        wait_until(lambda: self.files(kind) == count, 120, self.told)

    def codes(self) -> list[int]:
        end = read_past(self.store, "news").end
        return [end.number, end.code] if end else []


@pytest.fixture
def triggers(tmp_path):
    found = Triggers(tmp_path)
    write(tmp_path, "a", 4)
    yield found
    for process in found.started:
        process.kill()


def test_a_trigger_that_is_killed_takes_its_run_along_and_the_next_one_goes_on(triggers):
    first = triggers.start()
    triggers.wait("begun")
    first.send_signal(signal.SIGKILL)
    triggers.wait("stopped")
    second = triggers.start()
    triggers.wait("begun", 2)
    (triggers.folder / "go").touch()
    wait_until(lambda: triggers.codes() == [1, 0], 120, triggers.told)
    second.terminate()
    assert second.wait(60) == 143 and triggers.files("begun") == 2, "cut short, gone on with, and not begun again"
    assert triggers.told().count("'event': 'start'") == 2


def test_a_trigger_that_is_stopped_lets_its_run_commit_and_notes_its_end(triggers):
    first = triggers.start()
    triggers.wait("begun")
    first.terminate()
    assert first.wait(60) == 143 and triggers.files("stopped") == 1 and triggers.codes() == [0, 143], triggers.told()


def test_of_two_triggers_one_starts_the_run(triggers):
    both = [triggers.start(), triggers.start()]
    triggers.wait("begun")
    wait_until(lambda: "standing_by" in triggers.told(), 60, triggers.told)
    (triggers.folder / "go").touch()
    wait_until(lambda: triggers.codes() == [0, 0], 120, triggers.told)
    for process in both:
        process.terminate()
    assert {process.wait(60) for process in both} == {143} and triggers.files("begun") == 1
