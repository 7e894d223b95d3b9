"""How much memory does a rank need to load a model at ZeRO-3, beside the naive way of building it whole first?

Four ranks of one machine build the same decoder: each whole, with drawn weights, before DeepSpeed shares it out; and as
a run does that begins with weights, each parameter shared out when it is made. What is counted is the most that a rank
held above what it held before, divided by its shard. Optimizer state, which is sharded both ways, is not in it.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

from benchmarks.root import ROOT
from benchmarks.rows import Row, paired
from models.config import ModelConfig
from models.kinds.building import build
from models.kinds.kinds import kind_of

RANKS, VOCABULARY = 4, 32_000
CONFIG = ModelConfig(layers=16, width=1024, heads=16, tie_embeddings=False, row_tokens=128)


def measure(quick: bool) -> list[Row]:
    """Both ways, one after the other."""
    config = CONFIG.model_copy(update={"layers": 2}) if quick else CONFIG
    shard = 4 * kind_of(config).num_parameters(config, VOCABULARY) / RANKS
    whole, shared = (most_bytes(config, way) for way in ("whole", "shared"))
    what = f"most memory of a rank that loads {4 * shard / 1e9:.1f} GB in float32 over {RANKS} ranks, to its shard"
    ours, naive = [most / shard for most in shared], [most / shard for most in whole]
    return [Row(what, "×", ours, "built whole", naive, paired(ours, naive))]


def most_bytes(config: ModelConfig, way: str) -> list[int]:
    """The most bytes that each rank came to hold."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        argv = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={RANKS}"]
        argv += ["-m", "benchmarks.models.load", way, folder, config.model_dump_json()]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        subprocess.run(argv, cwd=ROOT, env=env, check=True)
        return [int(path.read_text()) for path in sorted(Path(folder).iterdir())]


def rank(way: str, folder: Path, config: ModelConfig) -> None:
    """Build, as one rank, and write down what it took."""
    from models.engine import engine, zero

    engine.join(threads=1)
    zero.import_deepspeed()
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    with zero.sharded(bf16=False) if way == "shared" else nullcontext():
        model = build(config, VOCABULARY, None if way == "shared" else 0)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    Path(folder, os.environ["RANK"]).write_text(str(most))
    del model


if __name__ == "__main__":
    rank(sys.argv[1], Path(sys.argv[2]), ModelConfig.model_validate(json.loads(sys.argv[3])))
