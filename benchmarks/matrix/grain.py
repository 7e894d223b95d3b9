"""What does one rank do with Grain? ElasticIterator over the concatenation of separately shuffled parts.

"State of any shard can be used to restore the state of all of the shards after changes in sharding and global batch
size", says its docstring. Growth is one more part behind the others, so every index that was read means the same.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import grain

from benchmarks.matrix.peers import Rank, note_batches
from benchmarks.matrix.protocol import SEED


def run(told: Rank) -> None:
    """Read all parts, from the state if there is one."""
    parts = [
        grain.MapDataset.source([json.loads(line) for line in Path(path).read_text().splitlines()]).shuffle(SEED + n)
        for n, path in enumerate(told.parts)
    ]
    shard = grain.sharding.ShardOptions(shard_index=told.rank, shard_count=told.world)
    whole = grain.MapDataset.concatenate(parts)
    iterator = iter(grain.experimental.ElasticIterator(whole, told.batch, shard))
    first = 0
    if told.state:
        saved = json.loads(Path(told.state).read_text())
        first = saved["step"]
        iterator.set_state(saved["state"])

    def batches() -> Iterator[list[int]]:
        for batch in iterator:
            yield [int(n) for n in batch["id"]]

    note_batches(told, batches(), first, iterator.get_state)


if __name__ == "__main__":
    run(Rank(**json.loads(sys.argv[1])))
