"""Does the agent drain once, in time, and only for an end; and does a real Ray node then drain?"""

import json
import secrets
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cluster.launch.notices import Notice, Unanswered
from cluster.launch.spot import MARGIN_S, RETRY_S, Agent, watch_for_ever
from tests.support.metadata_fake import AWS_ACTION, AWS_REBALANCE, serving
from tests.support.runs import ROOT, environment, wait_until


class Said:
    """A cloud that says what the test wants; an exception is raised after what stands before it."""

    every_s = 7.0

    def __init__(self, *turns):
        self.turns = list(turns)

    def look(self):
        for said in self.turns.pop(0):
            if isinstance(said, Exception):
                raise said
            yield said


class Drains:
    """Takes drains; the first `failing` of them fail."""

    def __init__(self, failing=0):
        self.done, self.failing = [], failing

    def __call__(self, reason, end_s):
        if self.failing:
            self.failing -= 1
            raise RuntimeError("the head\ndoes not answer")
        self.done.append((reason, end_s))


def end(ahead_s, name="spot"):
    return Notice(f"{name} {ahead_s}", name, time.time() + ahead_s)


def turns(agent):
    return [agent.turn() for _ in range(len(agent.cloud.turns))]


def test_one_notice_drains_once_however_often_it_is_read():
    notice, drains = end(100), Drains()
    assert turns(Agent(Said([], [notice], [notice], [notice]), drains)) == [7.0] * 4
    assert drains.done == [("spot", notice.end_s)]


def test_a_second_notice_drains_again_only_if_it_leaves_less_time():
    far, near, later, drains = end(100), end(30, "preempted"), end(200), Drains()
    turns(Agent(Said([far], [far, later], [far, later, near]), drains))
    assert drains.done == [("spot", far.end_s), ("preempted", near.end_s)]


def test_what_may_pass_is_told_and_drains_nothing(caplog):
    drains, advice = Drains(), Notice("r", "rebalance recommended", None)
    turns(Agent(Said([advice], [advice], []), drains))
    assert drains.done == []
    assert [r.message for r in caplog.records] == [
        "notice: rebalance recommended; this may pass, so nothing is drained",
        "withdrawn: rebalance recommended",
    ]


def test_an_end_that_is_withdrawn_after_the_drain_is_told(caplog):
    drains, notice = Drains(), end(100)
    turns(Agent(Said([notice], [], []), drains))
    assert len(drains.done) == 1
    assert "stays drained until Ray is started on it again" in caplog.records[-1].message


def test_a_drain_that_fails_is_tried_every_second_until_it_is_done():
    notice, drains = end(100), Drains(failing=3)
    agent = Agent(Said([notice], [notice], [notice]), drains)
    assert turns(agent) == [RETRY_S, 7.0, 7.0]
    assert drains.done == [("spot", notice.end_s)]


def test_an_end_that_is_withdrawn_before_the_drain_worked_drains_nothing():
    notice, drains = end(100), Drains(failing=2)
    turns(Agent(Said([notice], [], []), drains))
    assert drains.done == []


def test_trouble_is_told_once_and_its_end_once(caplog):
    down = Unanswered("HTTP 503")
    turns(Agent(Said([down], [down], [down], [], []), Drains()))
    assert [r.message for r in caplog.records] == [
        "no notices can be read: HTTP 503",
        "notices can be read again",
    ]


def test_a_service_that_falls_silent_does_not_withdraw_a_notice(caplog):
    notice, drains = end(100), Drains()
    turns(Agent(Said([notice], [Unanswered("gone")], [notice]), drains))
    assert len(drains.done) == 1 and "withdrawn" not in caplog.text


def test_what_was_read_before_the_trouble_counts():
    notice, drains = end(100), Drains()
    turns(Agent(Said([notice, Unanswered("garbage behind it")]), drains))
    assert len(drains.done) == 1


@pytest.mark.parametrize("arguments", [[], ["--cloud", "oracle"], ["--cloud", "aws", "--now", "5"]])
def test_wrong_arguments_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as refused:
        watch_for_ever(arguments)
    assert refused.value.code == 2


CLUSTER = """
import json, sys
import ray
from ray.cluster_utils import Cluster
from ray._raylet import GcsClient
small = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
cluster = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False, "temp_dir": sys.argv[1]})
node = cluster.add_node(**small, resources={"spot": 1})
ray.init(address=cluster.address, logging_level="ERROR")
class Busy:
    def here(self): return ray.get_runtime_context().get_node_id()
busy = ray.remote(Busy).options(resources={"spot": 1}).remote()
assert ray.get(busy.here.remote()) == node.node_id
print(json.dumps([cluster.address, node.node_id]), flush=True)
client = GcsClient(address=cluster.address)
for _ in sys.stdin:
    print(json.dumps([client.get_draining_nodes(), ray.get(busy.here.remote()) == node.node_id]), flush=True)
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.ray
def test_a_real_node_is_drained_with_the_seconds_that_are_left(tmp_path):
    known = environment() | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    known |= {"RAY_enable_metrics_collection": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    short = f"/tmp/hr-{secrets.token_hex(3)}"  # sockets below it have a length limit
    known |= {"RAY_TMPDIR": short}  # Ray writes the address there, into a folder that has to be
    Path(short, "ray").mkdir(parents=True)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    cluster = subprocess.Popen([sys.executable, "-c", CLUSTER, short], env=known, **pipes)
    log = tmp_path / "agent.txt"
    agents = []

    def draining():
        cluster.stdin.write("?\n")
        cluster.stdin.flush()
        nodes, still_works = json.loads(cluster.stdout.readline())
        assert still_works, "a drain lets what runs go on"
        return nodes

    try:
        address, node = json.loads(cluster.stdout.readline())
        with serving() as (metadata, base), log.open("w") as errors:
            command = [sys.executable, "-m", "cluster.launch.spot", "--cloud", "aws", "--metadata", base]
            command += ["--address", address, "--node-id", node]
            metadata.say(AWS_REBALANCE, '{"noticeTime": "2026-11-21T08:22:00Z"}')
            agents.append(subprocess.Popen(command, env=known, cwd=ROOT, stderr=errors))
            wait_until(lambda: "this may pass" in log.read_text(), 120, log.read_text)
            assert draining() == {}, "a recommendation drains nothing"
            at = datetime.now(UTC) + timedelta(seconds=100)
            metadata.say(AWS_ACTION, json.dumps({"action": "terminate", "time": f"{at:%Y-%m-%dT%H:%M:%SZ}"}))
            wait_until(lambda: node in draining(), 60, log.read_text)
            assert abs(draining()[node] / 1000 - (at.timestamp() - MARGIN_S)) < 2
            once = [*command[:3], "--now", "15", *command[-4:]]
            assert subprocess.run(once, env=known, cwd=ROOT, timeout=240).returncode == 0
            assert list(draining()) == [node] and draining()[node] / 1000 - time.time() < 16, "the nearer end counts"
    finally:
        for agent in agents:
            agent.terminate()
            agent.wait(timeout=60)
        cluster.stdin.close()
        cluster.wait(timeout=120)
        shutil.rmtree(short)
