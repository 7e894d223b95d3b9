"""How fast does a run train, next to a bare DeepSpeed loop on a machine without Ray?

Both train the same model (1 M parameters, rows of 256, batches of 16,384 tokens, ZeRO-2 in float32, two processes of
one thread over gloo) on the same batches, and their losses are compared step by step. Ours is `headrace train` in a
process of its own on a store that is ingested already; bare is DeepSpeed's engine in two processes, the batches in
memory. They run in turns, bare first and last; tokens/s is wall time over the steps, without the first five, so ours
holds fetching, reporting, the broadcasts between steps and the round boundaries.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
import yaml

from benchmarks.corpus import lines, write
from benchmarks.root import ROOT
from benchmarks.rows import Goal, Row, paired
from cluster.storage.store import Store
from data_ops.documents.frontier import Frontier
from data_ops.documents.place import Place
from data_ops.lake.lake import Lake
from data_ops.lake.log import LOG_COLUMNS
from data_ops.rounds.cut import cut_round
from data_ops.rounds.layout import Layout
from data_ops.rounds.manifest import Manifest, Shape
from data_ops.rounds.plan import PlanInput, plan_round
from data_ops.sampling.shard import Shard, merge_shards
from models.engine import engine
from models.engine.optim import lr_at
from ray_jobs.config.reading import check
from ray_jobs.config.schema import Config

SKIP, THREADS, VOCABULARY, DOCUMENT_TOKEN = 5, 1, 257, 256
RECIPE: dict[str, Any] = {
    "name": "bench",
    "sources": {"made": {"kind": "files", "path": "corpus/*.jsonl", "time": "at"}},
    "window": {"max_documents": 250},
    "tokenizer": {"kind": "bytes"},
    "reservoir": {"capacity": 500},
    "model": {"layers": 5, "width": 128, "heads": 4, "row_tokens": 256},
    "optim": {"lr": 1e-3, "schedule": {"kind": "constant", "warmup_tokens": 65_536}},
    "evaluate": {"every_rounds": 1_000_000, "documents_per_slice": 1},
    "wandb": {"mode": "disabled"},
}


class Sizes(NamedTuple):
    """How much is trained: documents of about 600 bytes, tokens of a step and of a round, runs of ours."""

    documents: int
    batch_tokens: int
    round_tokens: int
    runs: int


FULL = Sizes(documents=660, batch_tokens=16_384, round_tokens=163_840, runs=2)
QUICK = Sizes(documents=40, batch_tokens=1_024, round_tokens=16_384, runs=1)


class Trained(NamedTuple):
    """One run: end of each step in seconds, its loss, its wait for rows, and what its own summary says."""

    ended_s: list[float]
    losses: list[float]
    waits_s: list[float]
    summary: dict[str, Any]

    def tokens_per_second(self, batch_tokens: int) -> float:
        """Wall time over the steps behind the skipped ones."""
        return (len(self.ended_s) - SKIP) * batch_tokens / (self.ended_s[-1] - self.ended_s[SKIP - 1])


def measure(quick: bool) -> list[Row]:
    """Bare, ours, bare, ours, ..., bare; ratios of ours to the mean of the bare runs before and behind it."""
    sizes = QUICK if quick else FULL
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        config = prepare(folder, sizes)
        manifests = write_batches(folder, config)
        bare, ours = [train_bare(folder)], []
        for number in range(sizes.runs):
            ours.append(train_ours(folder, number, manifests))
            bare.append(train_bare(folder))
        return rows(sizes, bare, ours)


def rows(sizes: Sizes, bare: list[Trained], ours: list[Trained]) -> list[Row]:
    """The lines of the table."""
    worst = max(abs(a - b) for run in ours for a, b in zip(run.losses, bare[0].losses, strict=True))
    if worst > 1e-3:
        raise AssertionError(f"losses differ by {worst:.2g} nats: the two loops do not train the same")
    speeds = [run.tokens_per_second(sizes.batch_tokens) for run in bare]
    mine = [run.tokens_per_second(sizes.batch_tokens) for run in ours]
    beside = [(a + b) / 2 for a, b in itertools.pairwise(speeds)]
    waits = [sum(run.waits_s[SKIP:]) / (run.ended_s[-1] - run.ended_s[SKIP - 1]) for run in ours]
    own = [run.summary["tokens_per_second"] for run in ours]
    raw = {"bare_runs": speeds, "largest_loss_difference": worst, "steps": len(bare[0].losses), "quick": sizes == QUICK}
    return [
        Row(
            "training loop, 1 M parameters, 2 workers, ZeRO-2 fp32",
            "tokens/s",
            mine,
            "bare DeepSpeed loop, no Ray",
            beside,
            paired(mine, beside),
            Goal(0.98),
            "Ray's daemons, feed and coordinator share the two cores with the workers; on a GPU machine they do not.",
            f"{len(bare[0].losses)} steps, {SKIP} skipped; same batches, losses equal to {worst:.1g} nats. Not in it: "
            "start-up, ingest beside training, evaluation, and checkpoints (none falls due within the default 60 s).",
            raw,
        ),
        Row(
            "training loop: share of wall time that workers wait for rows",
            "",
            waits,
            goal=Goal(0.01, at_least=False, of_ratio=False),
            why="The feed answers late: on two cores its actor competes with the two workers.",
            note="data_wait_s of the step events of rank 0.",
        ),
        Row(
            "training loop: tokens_per_second of its own summary",
            "tokens/s",
            own,
            "wall time over the steps",
            mine,
            paired(own, mine),
            note="the product's figure counts all steps, also the first, but not what happens between two steps.",
        ),
    ]


def prepare(folder: Path, sizes: Sizes) -> Config:
    """Write corpus and recipe, and ingest once; ours then start from copies of that store."""
    write(folder / "corpus", list(lines(sizes.documents, 8, clean=True)))
    made = {
        **RECIPE,
        "store": str(folder / "store"),
        "round": {"tokens": sizes.round_tokens, "replay_share": 0.25},
        "engine": {
            "workers": 2,
            "zero_stage": 2,
            "precision": "fp32",
            "batch_tokens": sizes.batch_tokens,
            "micro_batch_rows": 16,
            "threads": THREADS,
        },
    }
    made["sources"] = {"made": {**RECIPE["sources"]["made"], "path": f"{folder}/corpus/*.jsonl"}}
    (folder / "run.yaml").write_text(yaml.safe_dump(made))
    command(folder, "ingest")
    return check(made)


def command(folder: Path, *arguments: str) -> dict[str, Any]:
    """Run headrace in a process of its own; the JSON object of its last line."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {"PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "ray_jobs", arguments[0], "-c", "run.yaml", "--json", *arguments[1:]]
    done = subprocess.run(argv, cwd=folder, env=clean, capture_output=True, text=True, timeout=400, check=False)
    if done.returncode:
        raise RuntimeError(f"headrace {arguments[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def plan(config: Config, lake: Lake) -> list[Manifest]:
    """Every round of the run, as the feed will plan it: the same functions, without its actors."""
    shape = Shape(config.model.row_tokens, config.engine.batch_rows(config.model.row_tokens))
    shard, start, made = Shard(lake, config.reservoir, config.seed, 0), Place(), list[Manifest]()
    log = lake.documents(0, lake.last_window(), LOG_COLUMNS, ["kept"])
    while True:
        windows, positions = log["window"].to_numpy(), log["position"].to_numpy()
        later = (windows > start.window) | ((windows == start.window) & (positions >= start.position))
        log = log.filter(later)
        if not log.num_rows:
            return made
        cut = cut_round(log, -1, config.round.fresh_tokens, drained=True)
        sample = merge_shards(config.reservoir, config.seed, [shard.state(Frontier.through(cut.sampled_window))])
        plan = PlanInput(config.round, shape, config.seed, sample.documents, sample.fingerprint)
        made.append(plan_round(plan, len(made), start, log, cut.closed))
        start = made[-1].end


def write_batches(folder: Path, config: Config) -> list[Manifest]:
    """Write every global batch of the run as one array, for the bare loop; returns the rounds they come from."""
    lake = Lake(Store.open(config.store))
    manifests = plan(config, lake)
    table = lake.documents(0, lake.last_window(), ["window", "position", "tokens"], ["kept"])
    place = zip(table["window"].to_pylist(), table["position"].to_pylist(), strict=True)
    index = {where: n for n, where in enumerate(place)}
    texts = table["tokens"].combine_chunks()
    batches, predictions, rates, tokens = [], [], [], 0
    for manifest in manifests:
        documents = manifest.documents
        where = [index[p] for p in zip(documents.windows.tolist(), documents.positions.tolist(), strict=True)]
        lists = texts.take(np.array(where))
        flat, offsets, layout = lists.values.to_numpy(), lists.offsets.to_numpy().astype(np.int64), Layout(manifest)
        for step in range(manifest.steps):
            filled = layout.fill(layout.rows_of(step), manifest.batch_rows, flat, offsets, DOCUMENT_TOKEN)
            batches.append(np.stack([filled.inputs, filled.labels, filled.segments]))
            predictions.append(layout.predictions(step, flat, offsets))
            tokens += config.engine.batch_tokens
            rates.append(lr_at(tokens, config.optim))
    np.savez(folder / "batches.npz", batches=np.stack(batches), predictions=predictions, rates=rates)
    (folder / "config.json").write_text(config.model_dump_json())
    return manifests


def train_ours(folder: Path, number: int, manifests: list[Manifest]) -> Trained:
    """Train the product on a copy of the store; AssertionError if it planned other rounds than the bare loop got."""
    store = folder / f"store-{number}"
    shutil.copytree(folder / "store", store)
    summary = command(folder, "train", f"store={store}")
    told = [json.loads(line) for line in (store / "runs/bench/metrics.jsonl").read_text().splitlines()]
    steps = [event for event in told if event["event"] == "step" and not event.get("branch")]
    written = Lake(Store.open(str(store))).rounds("bench")
    for n, manifest in enumerate(manifests):
        if Manifest.from_row(written, n).to_row() != manifest.to_row():
            raise AssertionError(f"round {n} of the run is not the one that the bare loop trained")
    shutil.rmtree(store)
    return Trained([e["time"] for e in steps], [e["loss"] for e in steps], [e["data_wait_s"] for e in steps], summary)


def train_bare(folder: Path) -> Trained:
    """Train the bare loop in two processes."""
    torch.multiprocessing.spawn(bare_rank, args=(str(folder),), nprocs=2)
    parts = [json.loads((folder / f"bare-{rank}.json").read_text()) for rank in range(2)]
    (folder / "meeting").unlink(missing_ok=True)
    predictions = np.load(folder / "batches.npz")["predictions"]
    losses = (np.array(parts[0]["nats"]) + np.array(parts[1]["nats"])) / predictions
    return Trained(parts[0]["ended_s"], losses.tolist(), [], {})


def bare_rank(rank: int, folder: str) -> None:
    """One rank of the bare loop: forward, backward, step on DeepSpeed's engine, and the loss read every step."""
    os.environ |= {"LOCAL_RANK": str(rank), "OMP_NUM_THREADS": str(THREADS), "DEEPSPEED_LOG_LEVEL": "error"}
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    config = Config.model_validate_json(Path(folder, "config.json").read_text())
    stored = np.load(Path(folder, "batches.npz"))
    batches, predictions, rates = (torch.from_numpy(stored[k]) for k in ("batches", "predictions", "rates"))
    made = engine.start(config.model, VOCABULARY, config.engine, config.optim, config.seed)
    deepspeed, micro = made.deepspeed, made.micro_rows
    mine = batches.shape[2] // 2
    ended_s, nats = [], []
    for batch, total, rate in zip(batches, predictions.tolist(), rates.tolist(), strict=True):
        inputs, labels, segments = batch[:, rank * mine : (rank + 1) * mine]
        for group in deepspeed.optimizer.param_groups:
            group["lr"] = rate
        loss = 0.0
        for first in range(0, mine, micro):
            part = slice(first, first + micro)
            found = deepspeed(inputs[part], segments[part], labels[part])
            deepspeed.backward(found * (2 / total), scale_wrt_gas=False)
            deepspeed.step()
            loss += float(found.detach())
        ended_s.append(time.time())
        nats.append(loss)
    Path(folder, f"bare-{rank}.json").write_text(json.dumps({"ended_s": ended_s, "nats": nats}))
    dist.barrier()
    dist.destroy_process_group()
