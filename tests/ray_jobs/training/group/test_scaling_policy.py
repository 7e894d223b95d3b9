"""How many workers does a group start with, when nodes leave, are lost, or are shared?"""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import ray
from ray.train import ScalingConfig

from cluster.runtime.topology import Node
from ray_jobs.training.group import scaling_policy as scaling
from ray_jobs.training.group.scaling_policy import Fitting

ROWS = 12


@dataclass
class Cluster:
    """What the policy asks the session and the trainer for."""

    staying: dict[str, Node]

    def nodes(self) -> dict[str, Node]:
        return self.staying


@dataclass
class Trainer:
    """What a policy is made from."""

    session: Cluster
    requested: int | tuple[int, int]
    batch_rows: int = ROWS

    @property
    def scaling_config(self) -> ScalingConfig:
        return ScalingConfig(num_workers=self.requested, resources_per_worker={"CPU": 1.0})


def decide(monkeypatch, requested, cluster, reserved):
    """(workers, CPUs of each) that would be started; None to wait. reserved: CPUs that Ray set aside, by node."""
    policy = Fitting(Trainer(cluster, requested))
    monkeypatch.setattr(policy, "_maybe_send_resource_request", lambda: None)
    monkeypatch.setattr(policy, "_get_reserved_resources", lambda: {n: {"CPU": c} for n, c in reserved.items()})
    made = policy.make_decision_for_non_running_worker_group()
    return (made.num_workers, made.resources_per_worker["CPU"]) if hasattr(made, "num_workers") else None


def test_a_node_that_was_told_to_leave_counts_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reservation lies on the node that leaves, and all of it; Ray's own policy would wait for it."""
    assert decide(monkeypatch, (1, 3), Cluster({"a": Node(cpus=2)}), {"b": 3.0}) == (2, 0.5)


def test_one_cpu_of_a_node_stays_free_for_data_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decide(monkeypatch, (1, 4), Cluster({"a": Node(cpus=4)}), {"a": 4.0}) == (4, 0.5)
    assert decide(monkeypatch, (1, 3), Cluster({"a": Node(cpus=4)}), {"a": 4.0}) == (3, 1.0)


def test_too_few_nodes_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decide(monkeypatch, 3, Cluster({"a": Node(cpus=2)}), {"a": 2.0}) is None
    assert decide(monkeypatch, (3, 6), Cluster({"a": Node(cpus=2)}), {"a": 2.0}) is None
    assert decide(monkeypatch, 3, Cluster({"a": Node(cpus=4)}), {}) == (3, 1.0)


def test_a_range_takes_what_others_leave_and_what_shares_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    both = Cluster({"a": Node(cpus=8), "b": Node(cpus=8)})
    assert decide(monkeypatch, (1, 12), both, {"a": 8.0, "b": 8.0}) == (12, 1.0)
    assert decide(monkeypatch, (1, 12), both, {"a": 5.0}) == (4, 1.0)
    assert decide(monkeypatch, (1, 12), both, {}) is None


def test_the_reservation_is_looked_at_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's last look may be older than a node that came; then the workers that were to become more would not."""
    asked = []

    method = SimpleNamespace(remote=lambda name, recompute=False: asked.append(recompute))
    monkeypatch.setattr(Fitting, "_autoscaling_coordinator", SimpleNamespace(get_reserved_resources=method))
    monkeypatch.setattr(scaling.ray, "get", lambda _, timeout: {"a": {"CPU": 1.0}})
    policy = Fitting(Trainer(Cluster({}), (1, 3)))
    assert policy._get_reserved_resources() == {"a": {"CPU": 1.0}}
    assert asked == [True]

    def silent(_: object, timeout: float) -> None:
        raise ray.exceptions.GetTimeoutError(f"{timeout} s")

    monkeypatch.setattr(scaling.ray, "get", silent)
    assert policy._get_reserved_resources() is None
    assert Fitting(Trainer(Cluster({}), 3))._get_reserved_resources() == {}
    assert asked == [True, True]
