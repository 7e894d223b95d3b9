"""What does a worker group know of held-out text? All ranks score a part of it; rank 0 keeps the figures."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from cluster.rows import Rows
from cluster.storage.store import Store
from data_ops.lake.lake import Lake
from data_ops.rounds.masking import RowObjective
from models.device import device
from models.engine.engine import Engine
from ray_jobs.config.blocks import EvaluateConfig
from ray_jobs.evaluation.held_out import held_out
from ray_jobs.evaluation.scores import by_slice, score, with_nats, write_scores
from ray_jobs.training.events import Evaluated


@dataclass
class Evaluator:
    """The held-out text of a store, as one rank scores it."""

    store: Store
    config: EvaluateConfig
    row_tokens: int
    objective: RowObjective
    alive: Callable[[], None]  # a sign of life
    judged_window: int = -1  # up to which the text of the last evaluation went

    def evaluate(self, engine: Engine, run: str, step: int, last_window: int) -> Evaluated | None:
        """Score all documents up to a window; on rank 0 what is to be told of it, None where no text is held out."""
        self.judged_window = last_window
        began = time.perf_counter()
        data = held_out(Lake(self.store), last_window, self.config, self.row_tokens, self.objective)

        def score_rows(rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
            self.alive()
            return engine.evaluate(rows)

        mine = score(data, score_rows, dist.get_rank(), dist.get_world_size())
        nats = torch.from_numpy(mine).to(device())
        dist.all_reduce(nats)
        if dist.get_rank() or not data.table.num_rows:
            return None
        table = with_nats(data, nats.cpu().numpy())
        write_scores(self.store, run, f"{step:08d}", table)
        return Evaluated(step=step, slices=by_slice(table), seconds=time.perf_counter() - began)
