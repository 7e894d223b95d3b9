"""Are workers forked as if they had been started, each with randomness of its own, or else started by Ray itself?"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.runtime import fork_worker
from cluster.runtime.fork_worker import CONTEXT, FIRST_JOB, NO_JOB
from cluster.runtime.forkserver import ForkServer
from tests.support.runs import ROOT, wait_until

LAUNCHER = str(Path(fork_worker.__file__))
WORKER = """
import os, sys, time
from ray._raylet import UniqueID
told = sys.argv[1:], os.environ["RAY_JOB_ID"], os.environ.get("WANTED"), os.getcwd(), os.getpid(), os.getppid()
print(*told, flush=True)
print(UniqueID.from_random().hex(), __import__("random").random(), "shared" in sys.modules, __name__, flush=True)
if "wait" in sys.argv:
    time.sleep(600)
sys.exit(7)
"""
SHARED = "import ray\n@ray.remote\nclass Made:\n    pass\n"  # a class whose id Ray would draw while it is imported


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What a raylet would run: a worker's program, and beside it what starts it without a server."""
    (tmp_path / "default_worker.py").write_text(WORKER)
    (tmp_path / "setup_worker.py").write_text("import sys; print('by Ray itself', sys.argv[1:])")
    (tmp_path / "shared.py").write_text(SHARED)
    (tmp_path / "draws.py").write_text("from ray._raylet import UniqueID\nUniqueID.from_random()")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{tmp_path}")
    monkeypatch.setenv("RAY_JOB_ID", NO_JOB)
    monkeypatch.delenv(fork_worker.SOCKET, raising=False)
    return tmp_path


@pytest.fixture
def server(folder):
    made = ForkServer(["shared"])
    yield made
    made.close()


def launch(folder, *arguments, **variables):
    command = [sys.executable, LAUNCHER, str(folder / "default_worker.py"), "--language=PYTHON", *arguments]
    environment = os.environ | variables
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.slow
def test_a_fork_has_arguments_variables_folder_and_output_of_its_launcher_and_ends_as_it_ended(folder, server):
    context = CONTEXT + json.dumps({"env_vars": {"WANTED": "1"}, "command_prefix": [], "py_executable": sys.executable})
    first, second = launch(folder, "--a=1", context), launch(folder, "--b", RAY_JOB_ID=FIRST_JOB)
    told = [process.communicate(timeout=240)[0].splitlines() for process in (first, second)]
    assert told[0][0].startswith(f"['--a=1'] {FIRST_JOB} 1 {folder} ")
    assert told[1][0].startswith(f"['--b'] {FIRST_JOB} None {folder} ")
    assert {process.returncode for process in (first, second)} == {7}
    assert {line[0].split()[-1] for line in told} == {str(server.process.pid)}, "both are the server's children"
    ids, numbers, shared, names = zip(*(line[1].split() for line in told), strict=True)
    assert len(set(ids)) == len(set(numbers)) == 2, "no two forks draw the same"
    assert set(shared) == {"True"} and set(names) == {"__main__"}


@pytest.mark.slow
def test_workers_end_with_their_launcher_and_all_with_their_driver(folder, server):
    launchers = [launch(folder, "wait") for _ in range(2)]
    workers = [int(process.stdout.readline().split()[-2]) for process in launchers]
    launchers[0].kill()
    wait_until(lambda: not alive(workers[0]), 120, lambda: "the worker outlives its killed launcher")
    assert alive(workers[1])
    server.process.stdin.close()  # as when the driver is killed
    wait_until(lambda: not alive(workers[1]), 120, lambda: "the worker outlives its driver")
    assert server.process.wait(timeout=120) == 0
    assert not server.folder.exists()
    for process in launchers:
        process.wait(timeout=120)


@pytest.mark.slow
def test_a_server_that_was_killed_is_done_without(folder, server, caplog):
    launch(folder).communicate(timeout=240)
    server.process.kill()
    out, _ = launch(folder, "--a=1").communicate(timeout=240)
    assert out.startswith("by Ray itself") and "'--language=PYTHON', '--a=1'" in out
    server.close()
    assert "workers were started one by one" in caplog.text


@pytest.mark.slow
def test_a_server_whose_imports_draw_ids_or_fail_refuses_to_serve(folder, caplog):
    for module, why in (("draws", "draw the same id"), ("no_such_module", "No module named")):
        server = ForkServer([module])
        out, _ = launch(folder).communicate(timeout=240)
        assert out.startswith("by Ray itself"), "who came before the server knew is not left waiting"
        server.close()
        assert why in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        [CONTEXT + '{"py_executable": "/other/python"}'],
        [CONTEXT + '{"command_prefix": ["conda activate x &&"]}'],
        [CONTEXT + '{"env_vars": {"PATH": "/x:${PATH}"}}'],
    ],
)
def test_another_job_and_other_environments_are_left_to_ray(folder, monkeypatch, arguments):
    monkeypatch.setenv(fork_worker.SOCKET, str(folder / "nobody"))
    assert fork_worker.wanted(arguments) is None
    assert launch(folder, *arguments).communicate(timeout=240)[0].startswith("by Ray itself")
    assert launch(folder, RAY_JOB_ID="02000000").communicate(timeout=240)[0].startswith("by Ray itself")


IN_RAY = """
import os, signal, time
from cluster.runtime.session import ClusterConfig, connect
with connect(ClusterConfig(object_store="100MiB"), preload=("data_ops.lake.lake",)) as session:
    import ray
    from ray._raylet import UniqueID

    @ray.remote(num_cpus=0)
    class Here:
        def look(self):
            import sys
            return os.getppid(), "data_ops.lake.lake" in sys.modules, UniqueID.from_random().hex()

    server = session.forkserver.process
    told = ray.get([Here.remote().look.remote() for _ in range(3)])
    assert [row[:2] for row in told] == [(server.pid, True)] * 3, told
    assert len({row[2] for row in told}) == 3, told
    server.send_signal(signal.SIGKILL)
    server.wait()
    parent, shared, _ = ray.get(Here.remote().look.remote(), timeout=240)  # perhaps by one that was idle
    assert ray.get([Here.remote().look.remote() for _ in range(6)], timeout=240)[-1][1] is False
    assert session.__reduce_ex__(2)[2]["forkserver"] is None
print("seen")
"""


@pytest.mark.ray
def test_the_workers_of_a_local_ray_are_forked_and_without_the_server_started(tmp_path):
    known = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", IN_RAY]
    done = subprocess.run(command, cwd=tmp_path, env=known, capture_output=True, text=True, timeout=500)
    assert done.stdout == "seen\n", done.stderr[-3000:]
