"""What does every worker process of a run find in memory when it is forked? Imported by the fork server, not by us.

Everything that some process of a run imports: Ray's own actors too, the training workers' DeepSpeed included.
"""

import ray.data._internal.execution.autoscaling_requester
import ray.train.torch
import ray.train.v2._internal.execution.controller.placement_group_cleaner  # noqa: F401

from models import zero

zero.import_deepspeed()

from ray_jobs import evaluate, feed, ingest, promote, train, worker  # noqa: E402, F401  (behind DeepSpeed)
