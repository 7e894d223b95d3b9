"""How fast does a run train, next to a bare DeepSpeed loop and Hugging Face's Trainer on a machine without Ray?

All train a model of one shape (1 M parameters, rows of 256, batches of 16,384 tokens, ZeRO-2 in float32, processes of
one thread over gloo) on the same rows; the losses of the bare loop are compared with ours step by step. Ours is
`headrace train` in a process of its own on a store that is ingested already; the others have the batches in memory
(`other_loops`). They run in turns, the others first and last. Figures are over the steps without the first five, so
ours hold fetching, reporting, the broadcasts between steps and the round boundaries.

On two cores Ray's daemons compete with two workers, so those are compared by the CPU time of the training processes;
the wall is compared with one worker that has a core of its own, and everything else on the other.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from benchmarks.corpus import lines, write
from benchmarks.root import ROOT
from benchmarks.rows import Goal, Row, paired
from benchmarks.training.other_loops import SKIP, THREADS, Trained, bare_rank, train_beside, trainer_rank
from benchmarks.training.watched import Workers
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
from models.engine.optim import lr_at
from ray_jobs.config.reading import check
from ray_jobs.config.schema import Config

DOCUMENT_TOKEN = 256
OWN_CORE = 1
BARE, TRAINER = "bare DeepSpeed loop, no Ray", "Hugging Face's Trainer with DeepSpeed, no Ray"
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


class Turns(NamedTuple):
    """Runs in turns: the others once more than ours, so that each of ours has one before and one behind it."""

    ours: list[Trained]
    bare: list[Trained]
    trainer: list[Trained]


def measure(quick: bool) -> list[Row]:
    """Two workers by their CPU time, then one on a core of its own by the wall."""
    sizes = QUICK if quick else FULL
    made: list[Row] = []
    for workers, core in ((2, None), (1, OWN_CORE)):
        with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
            folder = Path(name)
            config = prepare(folder, sizes, workers)
            manifests = write_batches(folder, config)
            turns = take_turns(folder, manifests, sizes.runs, workers, core)
        made += rows(sizes, turns) if core is None else pinned_rows(sizes, turns)
    return made


def take_turns(folder: Path, manifests: list[Manifest], runs: int, workers: int, core: int | None) -> Turns:
    """The others, ours, the others, ours, ..., the others."""
    turns = Turns([], [], [])
    for number in range(runs + 1):
        turns.bare.append(train_beside(bare_rank, folder, workers, core))
        turns.trainer.append(train_beside(trainer_rank, folder, workers, core))
        if number < runs:
            turns.ours.append(train_ours(folder, number, manifests, core))
    return turns


def rows(sizes: Sizes, turns: Turns) -> list[Row]:
    """The lines of two workers."""
    worst = refuse_other_losses(turns)
    waits = [sum(run.waits_s[SKIP:]) / (run.ended_s[-1] - run.ended_s[SKIP - 1]) for run in turns.ours]
    own = [run.summary["tokens_per_second"] for run in turns.ours]
    what = "training loop, 1 M parameters, 2 workers, ZeRO-2 fp32"
    note = (
        f"{len(turns.bare[0].losses)} steps, {SKIP} skipped; the bare loop's losses are ours to {worst:.1g} nats. Not "
        "in it: start-up, ingest beside training, evaluation, and checkpoints (none falls due within the default 60 s)."
    )
    mine = [run.tokens_per_second(sizes.batch_tokens) for run in turns.ours]
    return [
        _compared(what, sizes, turns.ours, turns.bare, BARE, Goal(0.98), by_cpu=True, note=note),
        _compared(what, sizes, turns.ours, turns.trainer, TRAINER, Goal(1.0), by_cpu=True),
        _compared(what, sizes, turns.ours, turns.bare, BARE, None, by_cpu=False),
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


def pinned_rows(sizes: Sizes, turns: Turns) -> list[Row]:
    """The lines of one worker on a core of its own."""
    refuse_other_losses(turns)
    what = "training loop, 1 M parameters, 1 worker on a core of its own"
    return [
        _compared(what, sizes, turns.ours, turns.bare, BARE, Goal(0.98), by_cpu=False),
        _compared(what, sizes, turns.ours, turns.trainer, TRAINER, Goal(1.0), by_cpu=False),
    ]


def refuse_other_losses(turns: Turns) -> float:
    """Return the largest difference to the bare loop's losses, in nats; AssertionError above 0.001."""
    bare = turns.bare[0].losses
    worst = max(abs(a - b) for run in turns.ours for a, b in zip(run.losses, bare, strict=True))
    if worst > 1e-3:
        raise AssertionError(f"losses differ by {worst:.2g} nats: the two loops do not train the same")
    return worst


def _compared(
    what: str, sizes: Sizes, ours: list[Trained], others: list[Trained], name: str, goal: Goal | None, **told: Any
) -> Row:
    speed = Trained.tokens_per_cpu_second if told["by_cpu"] else Trained.tokens_per_second
    speeds = [speed(run, sizes.batch_tokens) for run in others]
    mine = [speed(run, sizes.batch_tokens) for run in ours]
    beside = [(a + b) / 2 for a, b in itertools.pairwise(speeds)]
    unit = "tokens/CPU-second" if told["by_cpu"] else "tokens/s"
    raw = {"other_runs": speeds, "quick": sizes == QUICK}
    return Row(what, unit, mine, name, beside, paired(mine, beside), goal, "", told.get("note", ""), raw)


def prepare(folder: Path, sizes: Sizes, workers: int) -> Config:
    """Write corpus and recipe, and ingest once; ours then start from copies of that store."""
    write(folder / "corpus", list(lines(sizes.documents, 8, clean=True)))
    made = {
        **RECIPE,
        "store": str(folder / "store"),
        "round": {"tokens": sizes.round_tokens, "replay_share": 0.25},
        "engine": {
            "workers": workers,
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


def train_ours(folder: Path, number: int, manifests: list[Manifest], core: int | None) -> Trained:
    """Train the product on a copy of the store; AssertionError if it planned other rounds than the others got."""
    store = folder / f"store-{number}"
    shutil.copytree(folder / "store", store)
    with Workers(core) as workers:
        summary = command(folder, "train", f"store={store}")
    told = [json.loads(line) for line in (store / "runs/bench/metrics.jsonl").read_text().splitlines()]
    steps = [event for event in told if event["event"] == "step" and not event.get("branch")]
    written = Lake(Store.open(str(store))).rounds("bench")
    for n, manifest in enumerate(manifests):
        if Manifest.from_row(written, n).to_row() != manifest.to_row():
            raise AssertionError(f"round {n} of the run is not the one that the other loops trained")
    shutil.rmtree(store)
    ended_s = [event["time"] for event in steps]
    waits_s = [event["data_wait_s"] for event in steps]
    return Trained(ended_s, [event["loss"] for event in steps], waits_s, summary, workers.cpu_s(ended_s))
