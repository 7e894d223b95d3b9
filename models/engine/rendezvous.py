"""Where do the ranks of a process group meet? At a store of rank 0 that listens on one address alone.

torch's own TCPStore listens on every interface, and whoever reaches it may read and write where the ranks find each
other. Ours is given a socket that is bound to the address under which the others look for rank 0: 127.0.0.1 if all are
on this machine.
"""

import ipaddress
import os
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import torch.distributed as dist

TCPStore: Callable[..., Any] = vars(dist)["TCPStore"]  # which torch exports and does not declare
TIMEOUT_S, BACKLOG = 1800.0, 2048


class Meeting(NamedTuple):
    """Where a group's ranks find its store, and on rank 0 the number of the open socket it listens on."""

    address: str
    port: int
    listener: int


def open_meeting(address: str, port: int = 0) -> Meeting:
    """Listen at an address of this machine; on every interface where none has it, as behind a translated one."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        listener = socket.create_server((address, port), family=family, backlog=BACKLOG)
    except OSError:
        listener = socket.create_server(("", port), backlog=BACKLOG)
    return Meeting(address, listener.getsockname()[1], listener.detach())


def join_at(meeting: Meeting, backend: str, rank: int, world_size: int, timeout_s: float = TIMEOUT_S) -> None:
    """Enter a process group; rank 0 in the process that opened the meeting."""
    timeout = timedelta(seconds=timeout_s)
    where = (meeting.address, meeting.port, world_size)
    if rank == 0:
        store = TCPStore(*where, True, timeout, master_listen_fd=meeting.listener)
    else:
        store = TCPStore(*where, False, timeout)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=timeout)


def join_by_environment(backend: str) -> None:
    """Enter the process group of RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT.

    Under torchrun, or with a name as MASTER_ADDR, torch does it: the store is another process's, or the address that a
    name has on rank 0 may not be the one it has elsewhere.
    """
    address = os.environ["MASTER_ADDR"]
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" or not _is_address(address):
        dist.init_process_group(backend)
        return
    rank, port = int(os.environ["RANK"]), int(os.environ["MASTER_PORT"])
    meeting = open_meeting(address, port) if rank == 0 else Meeting(address, port, -1)
    join_at(meeting, backend, rank, int(os.environ["WORLD_SIZE"]))


def _is_address(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False
