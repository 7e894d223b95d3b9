"""Do all ranks hold the same after a collective, and does nothing of it travel as a pickle?"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.root import ROOT

RANK = """
import json, sys
from typing import NamedTuple
import torch.distributed as dist
from ray_jobs.checkpoints.position import StoredFile
from ray_jobs.training.worker.collectives import all_reduce_max, broadcast_int, broadcast_object
from ray_jobs.training.worker.collectives import check_in_step, gather_objects
class Turn(NamedTuple):
    notice: tuple[int, str] | None
    directive: int
rank, world = int(sys.argv[1]), int(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[3]}", rank=rank, world_size=world)
told = [broadcast_int(10 + rank), all_reduce_max(10 + rank)]
told += [broadcast_object(Turn((1, "é" * 50), 2) if rank == 0 else None, Turn)]
told += [broadcast_object("a1" if rank == 0 else None, str)]
told += [[file.path for file in gather_objects(StoredFile("x" * (rank + 1), rank, "s"), StoredFile)]]
check_in_step(round=1, step=2)
try:
    check_in_step(round=1, step=rank)
except RuntimeError as error:
    told += [str(error)]
print(json.dumps(told))
"""


@pytest.mark.slow
def test_every_rank_ends_with_what_rank_0_or_all_of_them_said(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(rank), "3", str(tmp_path / "meet")],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(3)
    ]
    told = [json.loads(rank.communicate(timeout=120)[0].splitlines()[-1]) for rank in ranks]
    apart = "the workers are not in step: step 0 to 2; this is a defect, nothing was trained"
    assert told == [[10, 12, [[1, "é" * 50], 2], "a1", ["x", "xx", "xxx"], apart]] * 3


def test_no_object_travels_as_a_pickle() -> None:
    pickling = ("object_list(", "all_gather_object(", "import pickle")
    texts = {path: path.read_text() for package in ("models", "ray_jobs") for path in (ROOT / package).rglob("*.py")}
    assert [path for path, text in texts.items() if any(word in text for word in pickling)] == []
