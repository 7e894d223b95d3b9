"""Who tells Ray that the cloud takes this machine away?

    python -m cluster.launch.spot --cloud aws|gcp|azure      beside `ray start`, on every spot worker
    python -m cluster.launch.spot --now 100                  once, from a Kubernetes preStop hook

Ray does not read the clouds' notices. This agent does, and drains its own node with the time that is left, as
`ray drain-node` does: nothing new is placed on it, and Ray Train knows which workers will go. A drain
cannot be taken back in Ray, so only a notice with an end drains; one that may pass (a rebalance recommendation, a
live migration) is logged. The agent costs one HTTP request every few seconds.
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable
from typing import Protocol

from cluster.launch.notices import CLOUDS, Cloud, Notice, Unanswered

logger = logging.getLogger(__name__)

MARGIN_S = 10.0  # Ray is told an earlier end: a node that dies before its deadline counts as a failure
RETRY_S = 1.0
RPC_S = 5.0


class Drain(Protocol):
    """Drains this node: the reason, and the unix time at which it will be gone. RuntimeError if Ray does not."""

    def __call__(self, reason: str, end_s: float) -> None: ...


class Agent:
    """Notices in, drains out. What it knows: what was seen, and until when the node was drained."""

    def __init__(self, cloud: Cloud, drain: Drain) -> None:
        self.cloud, self.drain = cloud, drain
        self.seen: dict[str, Notice] = {}
        self.due: Notice | None = None  # to be drained for, and not done yet
        self.drained_s: float | None = None
        self.trouble = ""

    def turn(self) -> float:
        """Look once, drain if something new demands it; returns the seconds to pause before the next turn."""
        now_seen: dict[str, Notice] = {}
        try:
            for notice in self.cloud.look():
                now_seen[notice.id] = notice
                self._take(notice)
                self._drain_if_due()
        except Unanswered as error:
            self._tell_trouble(f"no notices can be read: {error}")
        else:
            self._tell_trouble("")
            for gone in self.seen.keys() - now_seen.keys():
                self._withdrawn(self.seen.pop(gone))
        self._drain_if_due()
        return RETRY_S if self.due else self.cloud.every_s

    def _take(self, notice: Notice) -> None:
        if notice.id in self.seen:
            return
        self.seen[notice.id] = notice
        if notice.end_s is None:
            logger.warning("notice: %s; this may pass, so nothing is drained", notice.text)
            return
        logger.warning("notice: %s; %.0f s are left", notice.text, notice.end_s - time.time())
        known = [end for end in (self.drained_s, self.due and self.due.end_s) if end is not None]
        if not known or notice.end_s < min(known):  # a second notice matters if it leaves less time
            self.due = notice

    def _drain_if_due(self) -> None:
        if self.due is None or self.due.end_s is None:
            return
        try:
            self.drain(self.due.text, self.due.end_s)
        except (RuntimeError, OSError) as error:
            logger.warning("not drained yet, tried again in %g s: %s", RETRY_S, " ".join(str(error).split()))
            return
        self.drained_s, self.due = self.due.end_s, None
        logger.warning("drained: %.0f s are left", self.drained_s - time.time())

    def _withdrawn(self, notice: Notice) -> None:
        if self.due is notice:
            self.due = None
        after = "" if self.drained_s is None else "; the node stays drained until Ray is started on it again"
        logger.warning("withdrawn: %s%s", notice.text, after)

    def _tell_trouble(self, trouble: str) -> None:
        """Say it when it begins and when it ends, not at every turn."""
        if bool(trouble) != bool(self.trouble):
            logger.warning("%s", trouble or "notices can be read again")
        self.trouble = trouble


class RayNode:
    """This machine's node in Ray, found anew for every drain: Ray may have been started again meanwhile."""

    def __init__(self, address: str | None = None, node_id: str | None = None) -> None:
        self.address, self.node_id = address, node_id

    def drain(self, reason: str, end_s: float) -> None:
        """Drain it; an end of less than twice the margin ahead is not moved closer."""
        from cluster.runtime.ray_internals import drain_node

        left = max(end_s - time.time(), 0.0)
        told_s = time.time() + (left - MARGIN_S if left >= 2 * MARGIN_S else left)
        if refusal := drain_node(self.address, self.node_id, reason, told_s, RPC_S):
            raise RuntimeError(refusal)


def watch_notices(agent: Agent, pause: Callable[[float], None] = time.sleep) -> None:
    """Turn after turn, until the process is ended."""
    while True:
        pause(agent.turn())


def watch_for_ever(arguments: list[str] | None = None) -> int:
    """Run the agent; 1 if `--now` could not drain."""
    parser = argparse.ArgumentParser(prog="python -m cluster.launch.spot", description=(__doc__ or "").splitlines()[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--cloud", choices=sorted(CLOUDS), help="whose notices to watch")
    what.add_argument("--now", type=float, metavar="SECONDS", help="drain at once, with this many seconds to go")
    parser.add_argument("--metadata", metavar="URL", help="of the metadata service, where it is not at its usual place")
    parser.add_argument("--address", help="HOST:PORT of the head; default: RAY_ADDRESS, else the Ray started here")
    parser.add_argument("--node-id", help="which node, where several run on this machine")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s spot: %(message)s", stream=sys.stderr)
    node = RayNode(chosen.address, chosen.node_id)
    if chosen.now is not None:
        try:
            node.drain("the machine is being shut down", time.time() + chosen.now)
        except (RuntimeError, OSError) as error:
            logger.error("not drained: %s", " ".join(str(error).split()))
            return 1
        return 0
    import ray  # noqa: F401 - loaded now: when a notice comes, its seconds count

    cloud = CLOUDS[chosen.cloud]
    logger.info("watching the notices of %s", chosen.cloud)
    watch_notices(Agent(cloud(chosen.metadata) if chosen.metadata else cloud(), node.drain))
    return 0


if __name__ == "__main__":
    raise SystemExit(watch_for_ever())
