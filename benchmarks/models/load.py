"""How much memory does a rank need to load a model at ZeRO-3: by ranges, by DeepSpeed's zero.Init, and built whole?

Two ranks of one machine start on the same checkpoint, kept in float32. First a model of 1.2 B parameters (the shape of
Llama 3.2 1B, whose token table is 43 % of a shard) of which adapters alone train, in bfloat16: what a rank holds is its
shard of the weights, and little else. Then a smaller one of which all trains, in float32. What is counted is the most
that a rank held above what it held once everything was imported, over what training has it hold.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.root import ROOT
from benchmarks.rows import Goal, Row, paired
from cluster.storage.store import Store
from models.config import EngineConfig, ModelConfig, OptimConfig
from models.engine import checkpoint, engine, zero
from models.engine.weights import StoredWeights, initial_snapshot
from models.kinds.shapes import parameter_shapes
from models.kinds.transformer import draw_weight
from models.size import padded_vocab
from ray_jobs.checkpoints.position import StoredFile
from ray_jobs.checkpoints.ranges import Ranged, fetch

RANKS, VOCABULARY = 2, 128_256
LARGE = {"layers": 16, "width": 2048, "heads": 32, "kv_heads": 8, "ffn_width": 8192, "row_tokens": 128}
SMALL = {**LARGE, "layers": 8, "width": 1024, "heads": 16, "ffn_width": 4096}
ADAPTERS = {"from": "a base", "lora": {"rank": 8, "alpha": 8}}
WAYS = ("by ranges", "zero.Init", "built whole")


class Case(NamedTuple):
    """A model, the precision it computes in, and bytes of each parameter that training has a rank hold."""

    title: str
    config: ModelConfig
    precision: str
    held: int
    goal: Goal | None = None


def cases(quick: bool) -> Iterator[Case]:
    """The two that are measured; quick: the small model alone, with adapters."""
    large, small = (ModelConfig.model_validate(shape | ADAPTERS) for shape in (LARGE, SMALL))
    goal = Goal(1.2, at_least=False, of_ratio=False)
    yield Case("weights, of which adapters train, bf16", small if quick else large, "bf16", 2, goal)
    if not quick:
        # weights, master weights, gradients, two moments
        yield Case("weights and states, all trains, fp32", ModelConfig.model_validate(SMALL), "fp32", 20, goal)


def measure(quick: bool) -> list[Row]:
    """Every way of every case, one after the other."""
    rows = []
    for case in cases(quick):
        shapes = parameter_shapes(case.config.whole, padded_vocab(VOCABULARY))
        parameters = sum(torch.Size(shape).numel() for shape in shapes.values())
        with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
            stored = write_base(case.config.whole, shapes, Path(folder))
            found = {way: most_bytes(case, way, stored, Path(folder)) for way in WAYS}
        size = case.held * parameters / RANKS
        most = {way: [rank["most"] / size for rank in ranks] for way, ranks in found.items()}
        what = f"most memory of a rank that loads {parameters / 1e9:.2f} B parameters over {RANKS} ranks ({case.title})"
        ours = most[WAYS[0]]
        for way in WAYS[1:]:
            name = f"{what}, to the {size / 1e9:.2f} GB that training holds"
            rows.append(Row(name, "×", ours, way, most[way], paired(ours, most[way]), case.goal, raw={"ranks": found}))
    return rows


class Drawn(Mapping[str, Tensor]):
    """Initial weights, each made when it is asked for."""

    def __init__(self, config: ModelConfig, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.config, self.shapes = config, shapes

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, name: str) -> Tensor:
        drawn = torch.empty(self.shapes[name])
        draw_weight(name, drawn, self.config, 0)
        return drawn


def write_base(config: ModelConfig, shapes: Mapping[str, tuple[int, ...]], folder: Path) -> StoredFile:
    """Write weights that a run begins with, as the one file of a checkpoint."""
    path = "base.safetensors"
    written = initial_snapshot(Drawn(config, shapes), shapes).write(folder / path)
    return StoredFile(path, written.size_bytes, written.sha256, written.header)


def most_bytes(case: Case, way: str, stored: StoredFile, folder: Path) -> list[dict[str, int]]:
    """What each rank came to hold, and when."""
    into = folder / way
    into.mkdir()
    argv = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={RANKS}", "-m", "benchmarks.models.load"]
    argv += [way, str(folder), case.config.model_dump_json(), case.precision, json.dumps(asdict(stored))]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(argv, cwd=ROOT, env=env, check=True)
    return [json.loads(path.read_text()) for path in sorted(into.iterdir())]


class Growth:
    """The memory of this process above what it was."""

    def __init__(self) -> None:
        self.before = self._now()
        self.found = {"before": self.before, "most": 0}

    def _now(self) -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    def note(self, name: str) -> None:
        """Note the most, and what is held now, since this was last called."""
        lines = Path("/proc/self/status").read_text().splitlines()
        most = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 - self.before
        self.found |= {f"{name}_most": most, name: self._now() - self.before}
        self.found["most"] = max(self.found["most"], most)
        self.reset()

    def reset(self) -> None:
        """Let the kernel forget the most so far."""
        Path("/proc/self/clear_refs").write_text("5")


def rank(way: str, folder: Path, config: ModelConfig, precision: str, stored: StoredFile) -> None:
    """Start, as one rank, and write down what it took."""
    import peft  # noqa: F401  # before memory is counted

    engine.join(threads=1)
    deepspeed = zero.import_deepspeed()
    settings = EngineConfig(
        workers=RANKS, zero_stage=3, precision=precision, batch_tokens=RANKS * config.row_tokens, micro_batch_rows=1
    )
    growth = Growth()
    growth.reset()
    if way == "zero.Init":  # as Headrace did until 2026-11-30
        shared = deepspeed.zero.Init(remote_device="cpu")
        shared.dtype = torch.bfloat16 if precision == "bf16" else torch.float32  # it would take bfloat16
        engine.without_memory = lambda: shared
        engine.share_out = lambda *_: None
    weights = StoredWeights([folder / stored.path]) if way == "built whole" else None
    made = engine.start(config, VOCABULARY, settings, OptimConfig(), None, weights)
    growth.note("started")
    if weights is None:
        read(made, Ranged(Store.open(str(folder)), stored, folder))
        growth.note("read")
    growth.found["probe"] = made.probe()
    Path(folder, way, os.environ["RANK"]).write_text(json.dumps(growth.found))


def read(made: engine.Engine, part: Ranged) -> None:
    """Read what this rank owns, compared with its digests, as a worker does that begins."""
    if made.config.trains_part:
        fetch([part], checkpoint.ranges_needed(checkpoint.frozen_stretches(made), [part], ("weight",)))
        checkpoint.restore_frozen(made, [part])
    fetch([part], checkpoint.ranges_needed(checkpoint.owned_stretches(made), [part], ("weight",)))
    checkpoint.restore_engine(made, [part])


if __name__ == "__main__":
    way, folder, config, precision, stored = sys.argv[1:]
    rank(way, Path(folder), ModelConfig.model_validate_json(config), precision, StoredFile(**json.loads(stored)))
