"""When do workers commit often, move elsewhere, or become more?"""

from typing import Any

from cluster.runtime.topology import Node
from ray_jobs.config.reading import read_config
from ray_jobs.training.directive import Directive
from ray_jobs.training.events import Started
from ray_jobs.training.group.node_policy import AGAIN_SECONDS, SETTLE_SECONDS, NodeWatch

GO, CHECKPOINT, MOVE, _ = Directive
A, B = Node(cpus=4), Node(cpus=4)  # up to 6 workers each: half a CPU a worker, one CPU left free


def watch(workers: Any, training: int) -> NodeWatch:
    """A watch over a run of 12 rows a batch in which so many workers train."""
    config = read_config([], [f"engine.workers={workers}", "engine.batch_tokens=3072", "model.row_tokens=256"])
    made = NodeWatch(config.engine.workers, batch_rows=12)
    made.update(Started(step=0, workers=training))
    return made


def test_nothing_happens_while_nodes_stay_and_before_a_worker_trains() -> None:
    assert watch(2, 2).look({"a": A}, set(), 0.0) == (GO, "")
    assert watch(2, 0).look({"b": B}, {"a"}, 0.0) == (GO, "")


def test_a_node_that_is_about_to_leave_is_left_once_if_the_others_suffice() -> None:
    nodes = watch(2, 2)
    directive, why = nodes.look({"b": B}, {"a"}, 0.0)
    assert directive == MOVE
    assert "1 nodes are about to leave" in why
    assert nodes.look({"b": B}, {"a"}, 100.0) == (GO, "")
    assert nodes.look({"c": B}, {"b"}, 200.0)[0] == MOVE


def test_without_another_place_the_workers_commit_again_and_again() -> None:
    nodes = watch(12, 12)
    assert nodes.look({"b": B}, {"a"}, 0.0)[0] == CHECKPOINT
    assert nodes.look({"b": B}, {"a"}, AGAIN_SECONDS / 2) == (GO, "")
    assert nodes.look({"b": B}, {"a"}, AGAIN_SECONDS + 1)[0] == CHECKPOINT
    assert nodes.look({"b": B, "c": A}, {"a"}, AGAIN_SECONDS + 2)[0] == MOVE


def test_it_is_told_once_when_the_nodes_that_are_left_are_too_few() -> None:
    nodes = watch(12, 12)
    assert nodes.look({"a": A, "b": B}, set(), 0.0) == (GO, "")
    directive, why = nodes.look({"b": B}, set(), 1.0)
    assert directive == GO
    assert why == "the 1 nodes that are left are too few for engine.workers=12; training goes on when there are more"
    assert nodes.look({"b": B}, set(), 2.0) == (GO, "")
    assert nodes.look({"a": A, "b": B}, set(), 3.0) == (GO, "")
    assert nodes.look({"a": A}, set(), 4.0)[1]


def test_a_cluster_that_grew_is_used_once_it_has_settled() -> None:
    nodes = watch("[1,12]", 6)
    both = {"a": A, "b": B}
    assert nodes.look({"a": A}, set(), 0.0) == (GO, "")
    assert nodes.look(both, set(), 1.0) == (GO, "")
    directive, why = nodes.look(both, set(), 1.0 + SETTLE_SECONDS)
    assert directive == MOVE
    assert "12 workers fit now; the 6 of now" in why
    assert nodes.look(both, set(), 500.0) == (GO, "")  # asked once, whatever came of it
    assert watch(6, 6).look(both, set(), 500.0) == (GO, "")  # a fixed number stays what it is
