"""Does a submitted job carry what was checked, show its output once, and end with the run's own exit code?"""

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from ray_jobs.commands import submit as module
from ray_jobs.commands.submit import CONFIG, DONE_NOTE, STOPPED_NOTE, exit_code, pack_code, submit
from ray_jobs.config.reading import check, read_config, recipes
from ray_jobs.outcome import ConfigError
from tests.support.runs import RECIPE, ROOT


@pytest.fixture(autouse=True)
def no_cluster_named(monkeypatch):
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    monkeypatch.setattr(module, "PAUSE_S", 0.0)


@pytest.mark.parametrize("name", [*recipes(), "small"])
def test_what_was_checked_here_is_what_runs_there(name, tmp_path):
    config = check(yaml.safe_load(RECIPE)) if name == "small" else read_config([name], ["optim.lr=1e-4"])
    pack_code(config, tmp_path)
    assert read_config([str(tmp_path / CONFIG)]) == config


def test_the_upload_holds_our_packages_and_nothing_else(tmp_path):
    pack_code(read_config(["demo"]), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*module.PACKAGES, CONFIG}
    assert (tmp_path / "ray_jobs/config/recipes/demo.yaml").exists() and not list(tmp_path.rglob("__pycache__"))
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 5e6


@pytest.mark.parametrize(
    ("status", "code", "tail", "expected"),
    [
        ("SUCCEEDED", 0, "", 0),
        ("SUCCEEDED", None, "", 0),
        ("FAILED", 2, "", 2),
        ("FAILED", 143, "", 143),
        ("FAILED", -9, "", 137),
        ("FAILED", None, "", 1),
        ("STOPPED", None, f"... {STOPPED_NOTE}; the same command goes on from there\n", 143),
        ("STOPPED", None, f"done     {DONE_NOTE}\n", 0),
        ("STOPPED", None, "killed before that", 1),
    ],
)
def test_the_exit_code_is_that_of_the_run(status, code, tail, expected):
    assert exit_code(status, code, tail) == expected


@pytest.mark.parametrize("said", [STOPPED_NOTE, DONE_NOTE])
def test_the_note_it_looks_for_is_the_one_that_the_run_says(said):
    assert said in (ROOT / "ray_jobs/driver/loop.py").read_text()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (None, "no cluster is named; give --address"),
        ("head:8265", "--address=head:8265; give --address=http"),
        ("ray://head:10001", "give --address=http"),
        ("http://me:hunter2@head:8265", "set RAY_AUTH_TOKEN instead"),
    ],
)
def test_a_wrong_address_is_refused_before_anything_is_sent(address, said):
    with pytest.raises(ConfigError, match=said) as refused:
        submit(read_config(["demo"]), address)
    assert "hunter2" not in str(refused.value)


class Cluster:
    """The jobs API as far as submit sees it; `streams` are what each connection gives, ended by an error or not."""

    def __init__(self, *streams, refusals=0, lost=0, status="SUCCEEDED", code=0):
        self.streams, self.refusals, self.lost, self.jobs = list(streams), refusals, lost, []
        self.details = SimpleNamespace(status=SimpleNamespace(value=status), driver_exit_code=code)

    def submit_job(self, **job):
        if self.refusals:
            self.refusals -= 1
            raise RuntimeError("No available agent to submit job, please try again later.")
        assert (Path(job["runtime_env"]["working_dir"]) / CONFIG).exists()
        if self.jobs:
            raise RuntimeError(f"Job with submission_id {job['submission_id']} already exists.")
        self.jobs.append(job)
        if self.lost:
            raise OSError("Connection aborted.", "Remote end closed connection without response")

    async def tail_job_logs(self, _):
        for piece in self.streams.pop(0):
            if isinstance(piece, BaseException):
                raise piece
            yield piece

    def get_job_status(self, _):
        return SimpleNamespace(is_terminal=lambda: not self.streams)

    def get_job_info(self, _):
        return self.details


def run(monkeypatch, cluster, **options):
    said, notes = [], []
    monkeypatch.setattr(module, "_client", lambda address: (cluster, "http://head:8265"))
    ended = submit(read_config(["demo"], ["store=s3://b/lake"]), echo=said.append, note=notes.append, **options)
    return ended, "".join(said), "".join(notes)


def test_the_output_passes_through_and_the_code_comes_back(monkeypatch):
    cluster = Cluster(["round 0\n", "step 1\n"], status="FAILED", code=3)
    ended, said, _ = run(monkeypatch, cluster, follow=True, python="python3.11")
    assert (ended.status, ended.code, said) == ("FAILED", 3, "round 0\nstep 1\n")
    (job,) = cluster.jobs
    assert job["entrypoint"] == f"python3.11 -m ray_jobs run -c {CONFIG} --follow"
    assert "env_vars" not in job["runtime_env"], "Ray shows them to everybody"


def test_a_broken_connection_is_taken_up_where_it_broke(monkeypatch):
    broken = RuntimeError("WebSocket connection closed unexpectedly")
    cluster = Cluster(["a\nb", broken], [OSError("no route")], ["a\n", "b\nc\n", broken], ["a\nb\nc\nd\n"])
    assert run(monkeypatch, cluster)[1] == "a\nb\nc\nd\n"


def test_a_cluster_that_stays_away_is_given_up_with_the_name_of_the_job(monkeypatch):
    cluster = Cluster(*[[OSError("no route")]] * module.TRIES)
    with pytest.raises(ConnectionError, match=r"does not answer any more \(no route\); job demo-[0-9a-f]{8} may go on"):
        run(monkeypatch, cluster)


def test_a_head_that_has_just_come_up_is_asked_again(monkeypatch):
    assert run(monkeypatch, Cluster([], refusals=3))[0].code == 0
    with pytest.raises(ConnectionError, match=r"takes no job \(No available agent.*\); try again"):
        run(monkeypatch, Cluster([], refusals=99))


def test_a_job_whose_answer_was_lost_is_one_job(monkeypatch):
    cluster = Cluster(["step 1\n"], lost=1)
    ended, said, _ = run(monkeypatch, cluster)
    assert (ended.code, said, len(cluster.jobs)) == (0, "step 1\n", 1)


def test_detach_returns_at_once_and_says_how_to_come_back(monkeypatch):
    ended, said, notes = run(monkeypatch, Cluster(["never read"]), detach=True)
    assert (ended.code, ended.status, said) == (0, "SUBMITTED", "")
    assert f"ray job stop --address http://head:8265 {ended.submission_id}" in notes
    assert f"ray job logs --follow --address http://head:8265 {ended.submission_id}" in notes


def test_an_interrupt_leaves_the_job_running_and_says_how_to_stop_it(monkeypatch):
    ended, said, notes = run(monkeypatch, Cluster(["step 1\n", KeyboardInterrupt()]))
    assert (ended.code, ended.status, said) == (75, "RUNNING", "step 1\n")
    assert "left it running" in notes and "ray job stop" in notes


def test_a_store_in_a_folder_is_told_of(monkeypatch):
    cluster = Cluster([])
    monkeypatch.setattr(module, "_client", lambda address: (cluster, "http://head:8265"))
    notes = []
    submit(read_config(["demo"]), note=notes.append)
    assert "every node must reach the same one" in notes[0]
