"""The same run as a Ray job: a head with token auth, `headrace submit`, `ray job stop`, and on from there elsewhere."""

import os
import re
import secrets
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.telemetry.metrics import METRICS, prometheus_names
from tests.support.runs import (
    RECIPE,
    ROOT,
    STARTED,
    command,
    end_all,
    environment,
    events,
    finish,
    free_ports,
    last_step,
    start,
    wait_until,
    write_documents,
)

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1500)]
RAY = str(Path(sys.executable).parent / "ray")


def answers(address: str, token: str | None) -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{address}/api/jobs/", headers=headers), timeout=5) as got:
            return int(got.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def ray_cli(known: dict[str, str], *arguments: str) -> str:
    done = subprocess.run([RAY, *arguments], env=known, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def head(tmp_path: Path) -> Iterator[tuple[str, str, dict[str, str]]]:
    """A head that nobody enters without its token: (address, where its metrics are, environment of who may)."""
    token = secrets.token_hex(32)
    known = environment() | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_USAGE_STATS_ENABLED": "0"}
    known["RAY_JOB_STOP_WAIT_TIME_S"] = "300"  # the default of 3 s is too short for a last checkpoint
    kinds = ("port", "dashboard-port", "metrics-export-port", "ray-client-server-port")
    free = dict(zip(kinds, free_ports(len(kinds)), strict=True))
    address, metrics = (f"http://127.0.0.1:{free[kind]}" for kind in ("dashboard-port", "metrics-export-port"))
    ports = [*(f"--{kind}={port}" for kind, port in free.items()), "--min-worker-port=20000", "--max-worker-port=29999"]
    ports += ["--dashboard-agent-listen-port=0"]  # by itself it is 52365, where a Ray of another test may listen
    short = Path("/tmp") / f"hr-{secrets.token_hex(3)}"  # sockets below it have a length limit
    argv = [RAY, "start", "--head", "--block", *ports, "--num-cpus=4", f"--temp-dir={short}"]
    with (tmp_path / "head.txt").open("w") as log:
        process = subprocess.Popen(argv, env=known, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_until(lambda: answers(address, token) == 200, 240, lambda: (tmp_path / "head.txt").read_text())
            yield address, f"{metrics}/metrics", known
        finally:
            end_all()
            os.killpg(process.pid, signal.SIGKILL)  # a SIGTERM would take half a minute
            process.wait(timeout=60)


def exported(metrics: str) -> set[str]:
    """The series of ours that Prometheus would find."""
    try:
        with urllib.request.urlopen(metrics, timeout=5) as got:
            lines = got.read().decode().splitlines()
    except OSError:  # no agent yet, or one that has no time
        return set()
    return {line.partition("{")[0] for line in lines if line.startswith("ray_headrace_")}


def test_a_job_stopped_on_a_cluster_goes_on_elsewhere(head: tuple[str, str, dict[str, str]], tmp_path: Path) -> None:
    address, metrics, known = head
    assert answers(address, None) == 401
    write_documents(tmp_path / "corpus/a.jsonl", 240)
    recipe = RECIPE.replace("./lake", str(tmp_path / "lake")).replace("corpus/", f"{tmp_path}/corpus/")
    (tmp_path / "job.yaml").write_text(recipe)
    submit = [sys.executable, "-m", "ray_jobs", "submit", "-c", str(tmp_path / "job.yaml"), "--address", address]
    submit += ["--python", sys.executable, "telemetry.prometheus=true"]
    submit += ["--follow"]  # so that it goes on until it is stopped, however long that takes
    stranger = {key: value for key, value in known.items() if key != "RAY_AUTH_TOKEN"} | {"HOME": str(tmp_path)}
    refused = subprocess.run(submit, env=stranger, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert refused.returncode == 1 and "refuses us: set RAY_AUTH_MODE=token" in refused.stderr

    log = tmp_path / "job.txt"
    with log.open("w") as output:
        job = subprocess.Popen(submit, env=known, cwd=ROOT, stdout=output, stderr=output, text=True)
    STARTED.append(job)
    wait_until(lambda: last_step(events(tmp_path)) > 8 or job.poll() is not None, 400, lambda: log.read_text()[-3000:])
    assert job.poll() is None, log.read_text()[-3000:]
    live = {
        name for metric in ("step", "loss", "step_s", "documents_kept", "goodput") for name in prometheus_names(metric)
    }
    wait_until(lambda: live <= exported(metrics), 120, lambda: str(live - exported(metrics)))
    assert exported(metrics) <= {name for metric in METRICS for name in prometheus_names(metric)}
    wait_until(lambda: "commit   step" in log.read_text(), 120, lambda: "its progress is not shown here")
    assert job.poll() is None, log.read_text()[-3000:]

    name = re.search(r"submitted (\S+) to", log.read_text())[1]
    ray_cli(known, "job", "stop", "--address", address, name)
    assert job.wait(timeout=400) == 143, log.read_text()[-3000:]
    assert "stopped after a checkpoint" in log.read_text() and "sdk.py" not in log.read_text()
    stopped = command(tmp_path, "status")[1]["runs"][0]
    assert stopped["driver"] is None
    assert stopped["step"] > 8

    code, summary = finish(start(tmp_path))
    assert code == 0, (tmp_path / "stderr.txt").read_text()[-3000:]
    assert summary["resumed_from"] == stopped["step"]
    assert summary["documents"]["trained"] == summary["documents"]["kept"]
    assert command(tmp_path, "verify")[1]["ok"]


@pytest.mark.long  # a worker that starts in such a folder: tests/ray_jobs/test_names.py
def test_a_folder_with_packages_of_our_names_is_a_working_directory(
    head: tuple[str, str, dict[str, str]], tmp_path: Path
) -> None:
    address, _, known = head
    theirs = tmp_path / "theirs"
    for name in ("models", "tune", "cluster"):
        (theirs / name).mkdir(parents=True)
        (theirs / name / "__init__.py").write_text("")
    write_documents(tmp_path / "corpus/a.jsonl", 80)
    recipe = RECIPE.replace("./lake", str(tmp_path / "lake")).replace("corpus/", f"{tmp_path}/corpus/")
    (theirs / "mine.yaml").write_text(recipe)
    submit = ["job", "submit", "--address", address, "--working-dir", str(theirs)]
    ray_cli(known, *submit, "--", sys.executable, "-m", "ray_jobs", "run", "-c", "mine.yaml")
    code, account = command(tmp_path, "verify")
    assert (code, account["pending"], account["read"]) == (0, 0, 80)
