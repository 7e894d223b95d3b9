"""Do the ranks of a group meet at one address alone?"""

import os
import subprocess
import sys

import psutil
import pytest

from models.engine.rendezvous import open_meeting
from tests.support.root import ROOT

pytestmark = pytest.mark.slow

RANK = """
import os, sys, psutil, torch, torch.distributed as dist
from models.engine.rendezvous import join_by_environment
join_by_environment("gloo")
sum_of_ranks = torch.tensor([dist.get_rank() + 1.0])
dist.all_reduce(sum_of_ranks)
listening = [c.laddr.ip for c in psutil.Process().net_connections("inet") if c.status == "LISTEN"]
dist.barrier()
print(sum_of_ranks.item(), *listening)
"""


def test_ranks_meet_and_nobody_outside_this_machine_reaches_where() -> None:
    port = free_port()
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK],
            cwd=ROOT,
            env=os.environ | shared | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in ranks:
        total, *listening = process.communicate(timeout=120)[0].split()
        assert process.returncode == 0 and total == "3.0"
        assert listening and set(listening) <= {"127.0.0.1", "::ffff:127.0.0.1"}, listening


def free_port() -> int:
    meeting = open_meeting("127.0.0.1")
    os.close(meeting.listener)
    return meeting.port


@pytest.mark.parametrize(("address", "at"), [("127.0.0.1", "127.0.0.1"), ("203.0.113.9", "0.0.0.0")])
def test_an_address_that_is_not_this_machines_is_listened_for_everywhere(address: str, at: str) -> None:
    meeting = open_meeting(address)
    try:
        mine = [c.laddr for c in psutil.Process().net_connections("inet") if c.fd == meeting.listener]
        assert mine == [(at, meeting.port)] and meeting.address == address
    finally:
        os.close(meeting.listener)
