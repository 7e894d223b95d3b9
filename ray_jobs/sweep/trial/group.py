"""How does a trial train with several workers: one Tune actor, and an actor for each further rank?

Rank 0 is the trial's own actor; it starts the others in the same placement group, so Tune accounts for all of them, and
they form one process group that stays for the next trial. Every call goes to all ranks at once, which then meet in the
collectives of the engine. If one dies, the others fail in their next collective and Tune starts the trial again.
"""

import os
import socket
from collections.abc import Mapping

import ray
from ray.actor import ActorHandle

from ray_jobs.sweep.trial.job import Refused, Segment, SweepJob
from ray_jobs.sweep.trial.trial import Trial, TrialHost


class Peer:
    """A further rank. A Ray actor."""

    def __init__(self, job: SweepJob, environment: dict[str, str]) -> None:
        os.environ |= environment
        self.host = TrialHost(job)
        self.trial: Trial | Refused | None = None

    def begin(self, segment: Segment) -> None:
        """Take up a segment, as rank 0 does."""
        self.trial = self.host.begin(segment)

    def advance(self) -> None:
        """Go on beside rank 0."""
        assert self.trial is not None
        self.trial.advance()

    def close(self) -> None:
        """Commit and let go beside rank 0."""
        if self.trial is not None:
            self.trial.close()
            self.trial = None


class TrialGroup:
    """Rank 0 of a trial with `workers` workers, and the others: a `Host` like `TrialHost`."""

    def __init__(self, job: SweepJob, workers: int, resources: dict[str, float]) -> None:
        shared = {"MASTER_ADDR": ray.util.get_node_ip_address(), "MASTER_PORT": str(_free_port())}
        ranks = [
            {**shared, "WORLD_SIZE": str(workers), "RANK": str(rank), "LOCAL_RANK": "0"} for rank in range(workers)
        ]
        os.environ |= ranks[0]
        peer = ray.remote(num_cpus=resources.get("CPU", 1.0), num_gpus=resources.get("GPU", 0.0))(Peer)
        self.peers = [peer.remote(job, environment) for environment in ranks[1:]]
        self.host = TrialHost(job)

    def begin(self, segment: Segment) -> "GroupTrial":
        """Take up a segment on all ranks."""
        ray.get([peer.begin.remote(segment) for peer in self.peers])
        return GroupTrial(self.host.begin(segment), self.peers)


class GroupTrial:
    """A segment on its way on all ranks."""

    def __init__(self, trial: Trial | Refused, peers: list[ActorHandle]) -> None:
        self.trial, self.peers = trial, peers

    def advance(self) -> Mapping[str, object]:
        """Go on for a while, as `Trial.advance`."""
        others = [peer.advance.remote() for peer in self.peers]
        found = self.trial.advance()
        ray.get(others)
        return found

    def close(self) -> None:
        """Commit and let go."""
        others = [peer.close.remote() for peer in self.peers]
        self.trial.close()
        ray.get(others)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("", 0))
        return int(found.getsockname()[1])
