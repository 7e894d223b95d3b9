"""Through which network interface do the workers of several nodes find each other?

Through the one with the address by which Ray knows the node. Left alone, gloo announces what the host's name resolves
to; where that is a loopback address (Debian's 127.0.1.1, many containers), no other node reaches it and the group never
starts. GLOO_SOCKET_IFNAME, where it is set, stays. NCCL chooses for itself and never takes loopback.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
import ray
from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend

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
        worker_group.execute(use_own_interface)
        super().on_start(worker_group, backend_config)


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
