"""What happens to a cluster while a run trains on it? One function a scene; each acts and says what it found.

Four raylets on two machines. A scene waits for moments of progress, never of wall time, but where time is the point
(how long a machine is cut off, when a drained node goes).
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.nodes import network
from tests.nodes.raylets import Cluster
from tests.nodes.story import Story

NODES = {"east-1": 0, "east-2": 2, "west-1": 2, "west-2": 2}  # CPUs; the head has none, as Kubernetes samples have it
UNEVEN = {"east-1": 0, "east-2": 2, "west-1": 3}  # without west-1 two workers fit, with it three
START_SECONDS = 400.0  # a run's first step, or one after a fault, on a busy machine
NOTICE_SECONDS = 30  # between the word that a node will go and its end, as Google Cloud and Azure give
SLOW = ("model.width=192", "model.layers=3")  # steps so long that a node can come while there are some left
MOVE_SECONDS = 120.0  # from an announced end to training elsewhere, on a busy machine
BLINK_SECONDS = 20.0  # a cut that ends before Ray gives the machine up
DEAD_SECONDS = 150.0  # until Ray gives a silent node up: 65 s with its defaults
Found = dict[str, Any]


@dataclass(frozen=True)
class Scene:
    """A script with what it is played on. `workers` is engine.workers, `twin` that of the undisturbed run."""

    play: Callable[[Story], Found]
    workers: str
    twin: int
    same_bits: bool  # the twin's weights and losses, bit for bit; else other world sizes came in between
    nodes: Mapping[str, int] = field(default_factory=lambda: NODES)
    arguments: tuple[str, ...] = ()  # of the command, also of the undisturbed one
    records: int = 420  # of the corpus; 5 make about a step


def cut(story: Story) -> Found:
    """Cut a machine off for a moment, then for so long that Ray gives it up, heal, and start its raylets again."""
    cluster = story.cluster
    story.wait("training", lambda: story.step() >= 8, START_SECONDS)
    groups, before = len(story.events("started")), story.step()
    story.act("cut west off, for a moment", network.cut, "west")
    _pause(story, BLINK_SECONDS)
    healed = story.act("heal", network.heal, "west")
    went_on = story.wait("training after a short cut", lambda: story.step() > before + 1, START_SECONDS)
    blink = {"groups_more": len(story.events("started")) - groups, "training_after_s": round(went_on - healed, 1)}
    story.wait("a commit", lambda: story.step() >= before + 6, START_SECONDS)
    before = story.step()
    at = story.act("cut west off, for long", network.cut, "west")
    west = [name for name in cluster.nodes if name.startswith("west")]
    dead = story.wait("Ray gives it up", lambda: all(cluster.state(name) == "dead" for name in west), DEAD_SECONDS)
    _pause(story, 5)
    healed = story.act("heal", network.heal, "west")
    story.wait("raylets that were given up end", lambda: not any(map(cluster.lives, west)), 90)
    story.act("start west's raylets again", cluster.up, *west)
    lost = _again(story, before)
    return {"blink": blink, "given_up_after_s": round(dead - at, 1), **lost}


def leave(story: Story) -> Found:
    """Announce the end of a node, take it away at its end, put another in its place, and kill a raylet unannounced."""
    cluster = story.cluster
    story.wait("training", lambda: story.step() >= 8, START_SECONDS)
    drained = next(name for name in story.with_("worker") if name != cluster.head.name)
    at = story.act(f"announce the end of {drained} in {NOTICE_SECONDS} s", cluster.drain, drained, NOTICE_SECONDS)
    groups = len(story.events("started"))
    story.wait("the workers moved", lambda: len(story.events("started")) > groups, START_SECONDS)
    moved = story.events("started")[-1]
    before = max((e["step"] for e in story.events("step") if e["time"] < moved["time"]), default=0)
    story.wait("training elsewhere", lambda: story.step() > moved["step"], START_SECONDS)
    announced = {
        "steps_lost": before - moved["step"],
        "noticed_s": round(_first(story, "warning", at) - at, 1),
        "training_after_s": round(_first(story, "step", moved["time"]) - at, 1),
        "left": drained not in story.with_("worker"),
    }
    gone = lambda: cluster.state(drained) == "dead" or time.time() > at + NOTICE_SECONDS  # noqa: E731
    story.wait("its end", gone, NOTICE_SECONDS + 60)
    story.act(f"the end of {drained}", cluster.kill, drained)
    story.act(f"another node in the place of {drained}", cluster.up, drained)
    victim = next(name for name in story.with_("worker") if name not in (drained, cluster.head.name))
    had = [kind for kind in ("worker", "shard", "feed", "coordinator", "seen") if victim in story.with_(kind)]
    before = story.step()
    story.act(f"SIGKILL to the raylet of {victim}, which has {', '.join(had)}", cluster.kill_raylet, victim)
    return {"announced": announced, "killed": {"had": had, **_again(story, before)}}


def elastic(story: Story) -> Found:
    """As many workers as fit: a node leaves and they become fewer, one comes and they become more."""
    cluster = story.cluster
    story.wait("training", lambda: story.step() >= 8, START_SECONDS)
    sizes = [story.events("started")[-1]["workers"]]
    at = story.act(f"announce the end of west-1 in {NOTICE_SECONDS} s", cluster.drain, "west-1", NOTICE_SECONDS)
    story.wait("fewer workers", lambda: story.events("started")[-1]["workers"] < sizes[0], MOVE_SECONDS)
    fewer = story.events("started")[-1]
    before = max((e["step"] for e in story.events("step") if e["time"] < fewer["time"]), default=0)
    found = {"steps_lost": before - fewer["step"], "fewer_after_s": round(fewer["time"] - at, 1)}
    sizes.append(fewer["workers"])
    story.wait("training with fewer", lambda: story.step() > fewer["step"] + 2, START_SECONDS)
    story.act("the end of west-1", cluster.kill, "west-1")
    came = story.act("a node comes", cluster.up, "west-1")
    story.wait("more workers", lambda: story.events("started")[-1]["workers"] > sizes[-1], START_SECONDS)
    more = story.events("started")[-1]
    before = max((e["step"] for e in story.events("step") if e["time"] < more["time"]), default=0)
    sizes.append(more["workers"])
    joined = {"steps_lost_at_join": before - more["step"], "more_after_s": round(more["time"] - came, 1)}
    return {"sizes": sizes, **found, **joined}


SCENES = {
    "cut": Scene(cut, "3", 3, same_bits=True),
    "leave": Scene(leave, "3", 3, same_bits=True, arguments=SLOW, records=800),
    "elastic": Scene(elastic, "[1,3]", 3, same_bits=False, nodes=UNEVEN, arguments=SLOW),
}


def _again(story: Story, before: int) -> Found:
    """Wait for the next worker group and its first step."""
    at, groups = time.time(), len(story.events("started"))
    began = next(m.time for m in reversed(story.moments) if m.who == "we")
    story.wait("a new worker group", lambda: len(story.events("started")) > groups, START_SECONDS)
    begun = story.events("started")[-1]
    newest = max((e["step"] for e in story.events("step") if e["time"] < begun["time"]), default=before)
    story.wait("training again", lambda: _first(story, "step", begun["time"]) < float("inf"), START_SECONDS)
    lost = max(0, newest - begun["step"])  # the last steps before a commit may never have been told
    return {"steps_lost": lost, "training_after_s": round(_first(story, "step", max(at, begun["time"])) - began, 1)}


def _first(story: Story, name: str, since: float) -> float:
    return min((e["time"] for e in story.events(name) if e["time"] > since), default=float("inf"))


def _pause(story: Story, seconds: float) -> None:
    """Go on looking for a while."""
    until = time.time() + seconds
    story.wait("a while", lambda: time.time() >= until, seconds + 60)


def cluster_of(scene: Scene) -> Cluster:
    """The nodes of a scene, not started."""
    return Cluster(scene.nodes)
