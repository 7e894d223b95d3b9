"""How many workers does Ray Train start, whenever it starts a group?

As many as `cluster.runtime.topology.place` says for the nodes that live and stay then. Left alone, Ray Train 2.60
counts nodes that were told to leave, on which nothing is placed any more, and waits for them (300 s a try, of
three); it takes every CPU of a node, so that data tasks wait for ever; and it takes numbers that do not share the
batch. Too few nodes are waited for. What an autoscaler is asked for stays the most that `engine.workers` allows.
"""

from typing import Any

import ray
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.execution.scaling_policy import (
    ElasticScalingPolicy,
    NoopDecision,
    ResizeDecision,
    ScalingDecision,
)

from cluster.runtime.session import Session
from cluster.runtime.topology import Placement, place

ANSWER_SECONDS = 10.0


class Fitting(ElasticScalingPolicy):
    """Decides in Ray Train's controller, which pickles it."""

    def __init__(self, trainer: "FittingTrainer") -> None:
        super().__init__(trainer.scaling_config)
        self.session, self.requested, self.batch_rows = trainer.session, trainer.requested, trainer.batch_rows
        self.placed: Placement | None = None

    def make_decision_for_running_worker_group(self, *_: Any, **__: Any) -> ScalingDecision:
        """Leave a group alone that trains: Ray's own resize loses steps, a wish to MOVE does not."""
        self._maybe_send_resource_request()
        return NoopDecision()

    def _get_reserved_resources(self) -> dict[str, dict[str, float]] | None:
        """What Ray sets aside for this run, by node; looked at anew, for its last look may be 20 s old."""
        if isinstance(self.requested, int):
            return {}
        asked = self._autoscaling_coordinator.get_reserved_resources.remote(self._requester_id, recompute=True)
        try:
            found: dict[str, dict[str, float]] = ray.get(asked, timeout=ANSWER_SECONDS)
        except ray.exceptions.RayError:
            return None  # asked again at the controller's next turn
        return found

    def _count_possible_workers(self, reserved_resources: dict[str, dict[str, float]]) -> int:
        """Give the number to start; 0, which is too few for any run, to wait."""
        try:
            self.placed = place(self.requested, list(self.session.nodes().values()), self.batch_rows)
        except ValueError:
            return 0
        if isinstance(self.requested, int):
            return self.placed.workers
        most = min(self.placed.workers, super()._count_possible_workers(reserved_resources))  # others may train here
        return max((size for size in self.placed.world_sizes if size <= most), default=0)

    def _get_resize_decision(self, num_workers: int) -> ResizeDecision:
        assert self.placed is not None
        return ResizeDecision(num_workers, self.placed.resources_per_worker)


class FittingTrainer(TorchTrainer):
    """Ray Train's trainer with that policy, and without its process for Ray Data sets, of which we pass none.

    requested: `engine.workers`; batch_rows: rows of the global batch.
    """

    def __init__(self, *args: Any, session: Session, requested: int | tuple[int, int], batch_rows: int, **kwargs: Any):
        self.session, self.requested, self.batch_rows = session, requested, batch_rows
        super().__init__(*args, **kwargs)

    def _create_default_callbacks(self) -> list[Any]:
        return [kept for kept in super()._create_default_callbacks() if not isinstance(kept, DatasetsCallback)]

    def _initialize_and_run_controller(self, **given: Any) -> Any:
        return super()._initialize_and_run_controller(**(given | {"scaling_policy": Fitting(self)}))
