"""Do workers on several nodes announce an address that the others reach?"""

import pytest
import ray

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


def test_workers_are_told_before_their_group_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray Train calls `on_start` of the backend; gloo reads the variable when the group is made."""
    done = []

    class Group:
        def execute(self, function: object, **options: object) -> None:
            done.append(function)

    monkeypatch.setattr(OverNodes().backend_cls.__bases__[0], "on_start", lambda *_: done.append("made"))
    OverNodes(backend="gloo").backend_cls().on_start(Group(), None)
    assert done == [use_own_interface, "made"]
