"""Do the files for Slurm and SkyPilot start a cluster, stop a run in time, and go on with it?"""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from cluster.runtime.root import ROOT

LAUNCH = ROOT / "cluster" / "launch"
RUN = """trap 'echo stopped >> $OUT; exit 143' TERM
token=$RAY_AUTH_TOKEN_PATH
echo "headrace $RAY_ADDRESS $RAY_AUTH_MODE $(stat -c %a $token) $(wc -c < $token) $*" >> $OUT
[ -z "$CODE" ] || exit $CODE
while :; do sleep 0.05; done"""
COMMANDS = {
    "srun": 'echo "srun $*" >> $OUT; exec sleep 30',
    "scontrol": 'echo "scontrol $*" >> $OUT; [ $1 != show ] || printf "node1\\nnode2\\n"',
    "getent": 'echo "127.0.0.1 node1"; echo "10.0.0.7 STREAM node1"',
    "ray": "exit 0",
    "headrace": RUN,
}


class Job:
    """The script under a Slurm that writes down what it is asked."""

    def __init__(self, folder: Path, code: str, *words: str) -> None:
        self.out = folder / "out"
        (folder / "bin").mkdir()
        for name, body in COMMANDS.items():
            place = folder / "bin" / name
            place.write_text(f"#!/bin/bash\n{body}\n")
            place.chmod(0o755)
        env = {"PATH": f"{folder}/bin:{os.environ['PATH']}", "HOME": str(folder), "OUT": str(self.out), "CODE": code}
        env |= {"SLURM_JOB_ID": "4711", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_CPUS_PER_TASK": "64"}
        argv = ["bash", str(LAUNCH / "slurm.sh"), *words]
        self.process = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def said(self) -> str:
        """What was asked so far."""
        return self.out.read_text() if self.out.exists() else ""

    def ended(self) -> tuple[int, str]:
        """The exit code and all that was asked."""
        self.process.communicate(timeout=60)
        return self.process.returncode, self.said()


def wait_for(job: Job, word: str) -> None:
    deadline = time.monotonic() + 60
    while word not in job.said():
        assert time.monotonic() < deadline and job.process.poll() is None, job.said()
        time.sleep(0.02)


def test_a_slurm_job_is_a_cluster_with_a_token_whose_run_is_stopped_in_time_and_queued_again(tmp_path: Path) -> None:
    job = Job(tmp_path, "", "-c", "mine.yaml", "--follow")
    wait_for(job, "headrace ")
    job.process.send_signal(signal.SIGTERM)
    code, said = job.ended()
    assert code == 143
    assert "headrace 10.0.0.7:24711 token 600 64 run -c mine.yaml --follow" in said
    assert "--nodelist=node1" in said and "ray start --block --num-cpus=64 --head --node-ip-address=10.0.0.7" in said
    assert "--nodelist=node2" in said and "ray start --block --num-cpus=64 --address=10.0.0.7:24711" in said
    assert said.endswith("stopped\nscontrol requeue 4711\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "out"], "the token is gone with the job"


@pytest.mark.parametrize(("code", "again"), [("0", False), ("3", False), ("75", True)])
def test_a_slurm_job_ends_as_its_run_and_only_what_may_succeed_is_queued_again(
    tmp_path: Path, code: str, again: bool
) -> None:
    ended, said = Job(tmp_path, code, "-c", "mine.yaml").ended()
    assert (ended, "requeue" in said) == (int(code), again)


def test_a_slurm_job_without_a_configuration_says_how_it_is_started(tmp_path: Path) -> None:
    assert Job(tmp_path, "").ended()[0] == 2


def test_the_task_for_skypilot_goes_on_after_what_may_succeed_and_holds_no_secret() -> None:
    task = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())
    assert task["secrets"] == {"RAY_AUTH_TOKEN": None}
    assert task["resources"]["job_recovery"]["recover_on_exit_codes"] == [75, 143]
    assert subprocess.run(["bash", "-n", "-c", task["run"]]).returncode == 0
