"""Through which network interface do the workers of several nodes find each other?

Through the one with the address by which Ray knows the node. Left alone, gloo announces what the host's name resolves
to; where that is a loopback address (Debian's 127.0.1.1, many containers), no other node reaches it and the group never
starts. GLOO_SOCKET_IFNAME, where it is set, stays. NCCL chooses for itself and never takes loopback.
The store where the ranks find each other listens on that address alone.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
import ray
from ray.train.torch import TorchConfig
from ray.train.torch.config import _set_torch_distributed_env_vars, _TorchBackend

from models.engine.rendezvous import Meeting, join_at, open_meeting

VARIABLE = "GLOO_SOCKET_IFNAME"


@dataclass
class OverNodes(TorchConfig):
    """Ray Train's torch backend, whose workers meet on the network between the nodes."""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        """What Ray Train sets the workers up with."""
        return _OverNodes


class _OverNodes(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        """Make the process group, as Ray Train's own does, but at a store of ours."""
        worker_group.execute(use_own_interface)
        worker_group.execute(_set_torch_distributed_env_vars)
        meeting: Meeting = worker_group.execute_single(0, open_own_meeting)
        size, backend, timeout_s = len(worker_group), backend_config.backend, backend_config.timeout_s
        joining = [
            worker_group.execute_single_async(rank, join_at, meeting, backend, rank, size, timeout_s)
            for rank in range(size)
        ]
        ray.get(joining)


def open_own_meeting() -> Meeting:
    """Open the group's meeting, in the worker of rank 0, at the address by which Ray knows its node."""
    return open_meeting(ray.util.get_node_ip_address())


def use_own_interface() -> None:
    """Point gloo at this node's interface, in a worker, before its process group is made."""
    known = {name: [a.address for a in addresses] for name, addresses in psutil.net_if_addrs().items()}
    found = interface_of(ray.util.get_node_ip_address(), known)
    if found is not None:
        os.environ.setdefault(VARIABLE, found)


def interface_of(address: str, interfaces: Mapping[str, Sequence[str]]) -> str | None:
    """Name the interface that has an address; None if none has it, as behind a translated address.

    >>> interface_of("10.0.0.7", {"lo": ["127.0.0.1", "::1"], "eth0": ["10.0.0.7", "fe80::1%eth0"]})
    'eth0'
    """
    return next((name for name, addresses in interfaces.items() if address in addresses), None)
