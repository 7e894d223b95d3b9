"""What does one rank do with Mosaic Streaming? StreamingDataset over one Stream a part, StreamingDataLoader.

State as in *fast resumption*: rank 0's `state_dict` of the loader, loaded on all ranks. The global batch stays the same
at every world size, which *elastic determinism* asks for.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.matrix.peers import Rank, note_batches
from benchmarks.matrix.protocol import SEED

OPERATORS = torch.library.Library("torchvision", "DEF")  # torchvision's own do not load beside a CPU build of torch
for operator in ("nms", "qnms"):
    OPERATORS.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from streaming import MDSWriter, Stream, StreamingDataLoader, StreamingDataset  # noqa: E402
from streaming.base.util import clean_stale_shared_memory  # noqa: E402


def run(told: Rank) -> None:
    """Read all parts, from the state if there is one."""
    os.environ |= {"RANK": str(told.rank), "LOCAL_RANK": str(told.rank), "MASTER_ADDR": "127.0.0.1"}
    os.environ |= {"WORLD_SIZE": str(told.world), "LOCAL_WORLD_SIZE": str(told.world), "MASTER_PORT": str(told.port)}
    torch.distributed.init_process_group("gloo", rank=told.rank, world_size=told.world)
    clean_stale_shared_memory()  # what killed ranks have left
    streams = [Stream(local=shards(Path(path), told.rank)) for path in told.parts]
    each = told.batch // told.world
    dataset = StreamingDataset(streams=streams, batch_size=each, shuffle=True, shuffle_seed=SEED)
    loader = StreamingDataLoader(dataset, batch_size=each)
    first = 0
    if told.state:
        saved = json.loads(Path(told.state).read_text())
        first = saved["step"]
        loader.load_state_dict(saved["state"])

    def batches() -> Iterator[list[int]]:
        for batch in loader:
            yield batch["id"].tolist()

    note_batches(told, batches(), first, loader.state_dict)


def shards(path: Path, rank: int) -> str:
    """The part as MDS, written once, by rank 0."""
    folder = path.with_suffix("")
    done = folder / "written"
    if rank == 0 and not done.exists():
        with MDSWriter(out=str(folder), columns={"id": "int", "text": "str"}, size_limit=1 << 14) as writer:
            for line in path.read_text().splitlines():
                writer.write(json.loads(line))
        done.touch()
    while not done.exists():
        time.sleep(0.02)
    return str(folder)


if __name__ == "__main__":
    run(Rank(**json.loads(sys.argv[1])))
