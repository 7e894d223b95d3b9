"""What does every worker process of a run find in memory when it is forked? Imported by the fork server, not by us.

Everything that some process of a run imports: Ray's own actors too, the training workers' DeepSpeed included; and the
compiled loops of packing and reservoir, which numba reads from its cache at the first call (0.1 s each).
"""

import numpy as np
import ray.data._internal.execution.autoscaling_requester
import ray.train.torch
import ray.train.v2._internal.execution.controller.placement_group_cleaner  # noqa: F401

from data_ops.rounds import packing
from data_ops.sampling.reservoir import Reservoir
from models.engine import zero

zero.import_deepspeed()

from ray_jobs.evaluation import held_out as evaluate  # noqa: E402, F401  (behind DeepSpeed)
from ray_jobs.ingest import task as ingest  # noqa: E402, F401  (behind DeepSpeed)
from ray_jobs.registry import judge as promote  # noqa: E402, F401  (behind DeepSpeed)
from ray_jobs.training.actors import feed  # noqa: E402, F401  (behind DeepSpeed)
from ray_jobs.training.group import training as train  # noqa: E402, F401  (behind DeepSpeed)
from ray_jobs.training.worker import loop as worker  # noqa: E402, F401  (behind DeepSpeed)

packing.pack(np.full(10, 10), 128)
Reservoir(capacity=4, half_life_s=1.0).add(np.arange(16, dtype=np.uint64).reshape(8, 2), np.arange(8.0), np.ones(8))
