"""Do workers on several nodes announce an address that the others reach?"""

from typing import Any

import pytest
import ray

from models.engine.rendezvous import Meeting
from ray_jobs.training.group import gloo_interface as interface
from ray_jobs.training.group.gloo_interface import VARIABLE, OverNodes, interface_of, use_own_interface


def test_the_interface_is_the_one_with_the_address_ray_knows() -> None:
    known = {"lo": ["127.0.0.1", "::1"], "docker0": ["172.17.0.1"], "eth0": ["10.0.0.7", "10.0.0.8"]}
    assert interface_of("10.0.0.8", known) == "eth0"
    assert interface_of("127.0.0.1", known) == "lo"
    assert interface_of("54.1.2.3", known) is None


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    monkeypatch.setenv(VARIABLE, "ib0")
    use_own_interface()
    assert interface.os.environ[VARIABLE] == "ib0"


def test_workers_are_told_before_their_group_is_made_and_meet_at_rank_0(monkeypatch: pytest.MonkeyPatch) -> None:
    """gloo reads the variable when the group is made."""
    done: list[Any] = []

    class Group:
        def __len__(self) -> int:
            return 2

        def execute(self, function: Any) -> None:
            done.append(function.__name__)

        def execute_single(self, rank: int, function: Any) -> Meeting:
            done.append((rank, function.__name__))
            return Meeting("127.0.0.1", 4711, 9)

        def execute_single_async(self, rank: int, function: Any, *arguments: Any) -> None:
            done.append((rank, function.__name__, *arguments))

    monkeypatch.setattr(ray, "get", lambda joining: joining)
    OverNodes(backend="gloo").backend_cls().on_start(Group(), OverNodes(backend="gloo"))
    meeting = Meeting("127.0.0.1", 4711, 9)
    assert done == [
        "use_own_interface",
        "_set_torch_distributed_env_vars",
        (0, "open_own_meeting"),
        (0, "join_at", meeting, "gloo", 0, 2, 1800),
        (1, "join_at", meeting, "gloo", 1, 2, 1800),
    ]
