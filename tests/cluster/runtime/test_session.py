"""Does one call reach Ray: closed to others, quiet, from any folder, several times at once?"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from cluster.runtime.config import ClusterConfig
from cluster.runtime.root import ROOT as FOLDER
from cluster.runtime.session import local_environment, worker_environment

ROOT = str(FOLDER)

CONNECT = """
import json, os, sys, time
{before}
from cluster.runtime.session import ClusterConfig, connect
began = time.monotonic()
with connect(ClusterConfig(object_store="100MiB"), metrics={metrics}) as session:
    started_s = time.monotonic() - began
    import ray

    @ray.remote(num_cpus=1)
    def look():
        import cluster.units
        print("noise")
        names = ("RAY_AUTH_MODE", "OMP_NUM_THREADS", "RAY_TRAIN_COLLECTIVE_TIMEOUT_S", "DS_ACCELERATOR")
        return {{name: os.environ.get(name) for name in names}}, os.environ.get("RAY_AUTH_TOKEN") == token
    token = os.environ["RAY_AUTH_TOKEN"]
    again = connect(ClusterConfig())
    {then}
    seen, same_token = ray.get(look.remote())
    print(json.dumps(dict(seen, same_token=same_token, nodes=list(session.nodes().values()), local=session.is_local,
        owned=[session.owned, again.owned], started_s=started_s, address=session.address)))
print(ray.is_initialized())
"""


def script(before="", then="pass", metrics=False) -> str:
    return CONNECT.format(before=before, then=then, metrics=metrics)


def clean_environment(home: Path, **more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "OMP_", "DS_", "PYTHONPATH"))}
    return kept | {"HOME": str(home), "PYTHONPATH": ROOT} | more


def start(code: str, home: Path, **more: str) -> subprocess.Popen:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code], cwd=home, env=clean_environment(home, **more), **pipes)


def answer(process: subprocess.Popen) -> tuple[dict, str]:
    try:
        out, err = process.communicate(timeout=300)
    finally:
        process.terminate()  # Ray ends with it; without effect on one that has ended
    assert process.returncode == 0, err
    lines = out.splitlines()
    assert len(lines) == 2 and lines[1] == "False", f"only our two lines are printed: {out}"
    return json.loads(lines[0]), err


@pytest.mark.ray
def test_two_local_sessions_start_at_once_each_closed_quiet_and_without_a_file_in_home(tmp_path):
    homes = [tmp_path / "a", tmp_path / "b"]
    for home in homes:
        home.mkdir()
    processes = [start(script(before), home) for before, home in zip(("import ray", ""), homes, strict=True)]
    seen = [answer(process) for process in processes]
    for found, err in seen:
        assert err == "", "nothing but our lines"
        assert found["RAY_AUTH_MODE"] == "token" and found["same_token"]
        assert found["OMP_NUM_THREADS"] == "1" and found["RAY_TRAIN_COLLECTIVE_TIMEOUT_S"] == "1800"
        assert found["nodes"][0][0] >= 4 and found["local"] and found["owned"] == [True, False]
        assert found["DS_ACCELERATOR"] == "cpu" or found["nodes"][0][1] > 0
    assert seen[0][0]["address"] != seen[1][0]["address"]
    assert not any((home / ".ray").exists() for home in homes)


HALF = """
from ray._private.node import Node
real = Node.start_ray_processes
def slow(self):
    Node.start_ray_processes = real
    raise Exception("The current node timed out during startup.")
Node.start_ray_processes = slow
"""


@pytest.mark.ray
def test_a_ray_that_came_up_in_half_is_ended_and_started_once_more(tmp_path):
    then = """
    import psutil
    names = [child.name() for child in psutil.Process().children(recursive=True)]
    assert names.count("gcs_server") == 1, names
    lines = [open(f"/proc/{child.pid}/cmdline").read() for child in psutil.Process().children(recursive=True)]
    daemons = [name for name in ("monitor.py", "dashboard.py") if any(name in line for line in lines)]
    assert daemons == [], "nobody asks these"
"""
    found, err = answer(start(script(before=HALF, then=then), tmp_path))
    assert found["local"] and found["nodes"]
    assert err == ""


OTHER = """
import os, sys
from cluster.runtime.session import ClusterConfig, connect
try:
    connect(ClusterConfig())
except ConnectionError as error:
    print("refused:", error)
"""


@pytest.mark.ray
def test_a_process_without_the_token_is_refused_with_advice_and_one_with_it_joins(tmp_path):
    then = f"""
    import subprocess
    env = dict(os.environ, RAY_ADDRESS=session.address)
    wrong = dict(env, RAY_AUTH_TOKEN="0" * 64)
    run = lambda code, env: subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=240).stdout
    refused = run({OTHER!r}, wrong)
    joined = run({OTHER + "else:" + chr(10) + "    import ray; print('joined', ray.cluster_resources()['CPU'])"!r}, env)
    assert refused.startswith("refused: no Ray cluster accepts us at " + session.address), refused
    assert "RAY_AUTH_TOKEN" in refused and "unset RAY_ADDRESS" in refused, refused
    assert joined.startswith("joined"), joined
"""
    answer(start(script(then=then), tmp_path))


METRICS = """
    from cluster.telemetry.metrics import prometheus_names
    from cluster.telemetry.sinks import Prometheus, Telemetry
    import urllib.request
    telemetry = Telemetry([Prometheus("news", refresh_s=0.2)])
    telemetry.log({"tokens": 8192, "loss": 2.5, "bits_per_byte/news": 1.25, "step_s": 0.4})
    logged = time.monotonic()
    wanted = {n for m in ("loss", "tokens", "step_s", "bits_per_byte") for n in prometheus_names(m)}
    node = ray.nodes()[0]
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    def exported():
        try:
            text = urllib.request.urlopen(url, timeout=5).read().decode()
        except OSError:
            return []  # the agent is not there yet, or has no time
        return [line for line in text.splitlines() if "headrace" in line and not line.startswith("#")]
    lines, seen = [], set()
    while seen != wanted or time.monotonic() - logged < FORGOTTEN_S:
        assert time.monotonic() - logged < 240, (wanted ^ seen, lines)
        time.sleep(0.1)
        lines = exported()
        seen = {line.partition("{")[0] for line in lines}
    assert any("headrace_loss" in line and 'run="news"' in line and line.endswith(" 2.5") for line in lines), lines
    assert any("headrace_bits_per_byte" in line and 'label="news"' in line for line in lines), lines
    assert any("headrace_tokens" in line and float(line.split()[-1]) == 8192 for line in lines), lines
    telemetry.close()
"""


@pytest.mark.ray
def test_a_metric_reaches_prometheus_when_asked_and_stays_there(tmp_path):
    then = METRICS.replace("FORGOTTEN_S", "6")  # Ray keeps a gauge for two reports: here 2 s, by itself 20
    answer(start(script(then=then, metrics=True), tmp_path, RAY_metrics_report_interval_ms="1000"))


def test_what_the_user_set_stays():
    user = {"RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "4", "RAY_USAGE_STATS_ENABLED": "1"}
    added = local_environment(user, metrics=False)
    assert not {*user, "RAY_AUTH_TOKEN"} & set(added)
    assert added["RAY_enable_metrics_collection"] == "0"
    assert "RAY_enable_metrics_collection" not in local_environment({}, metrics=True)
    assert "RAY_AUTH_TOKEN" not in local_environment({"RAY_AUTH_TOKEN_PATH": "/t"}, metrics=True)


def test_every_local_session_has_its_own_long_token_and_workers_of_a_cluster_get_none():
    tokens = {local_environment({}, metrics=False)["RAY_AUTH_TOKEN"] for _ in range(3)}
    assert len(tokens) == 3 and all(len(token) == 64 for token in tokens)
    assert not any(name.startswith("RAY_AUTH") for name in worker_environment({}))


def test_a_source_tree_is_on_the_path_of_workers_once_and_first():
    assert worker_environment({})["PYTHONPATH"] == ROOT
    assert worker_environment({"PYTHONPATH": "/x"})["PYTHONPATH"] == f"{ROOT}{os.pathsep}/x"
    assert "PYTHONPATH" not in worker_environment({"PYTHONPATH": f"/x{os.pathsep}{ROOT}"})
    assert local_environment({"PYTHONPATH": "/x"}, metrics=False)["PYTHONPATH"] == f"{ROOT}{os.pathsep}/x"


def test_an_object_store_smaller_than_ray_allows_is_refused():
    assert ClusterConfig(object_store="1GB").object_store == 10**9
    for wrong in ({"object_store": "1MiB"}, {"num_cpus": 0}, {"adress": "x"}):
        with pytest.raises(ValidationError):
            ClusterConfig(**wrong)
