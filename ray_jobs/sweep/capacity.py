"""How many trials run at a time, and does each of them fit into memory?

Asked before anything is trained: workers of a trial over what the cluster has, and the planner's formulas over what
one device holds. A trial that cannot fit is named in the table and never started.
"""

import os
from dataclasses import dataclass

import ray

from cluster.planner.config import PlanConfig
from cluster.planner.gpus import GPUS, GpuName
from cluster.planner.memory import Case, memory_gb
from cluster.runtime.session import Session
from models.kinds.kinds import kind_of, part_that_trains
from ray_jobs.config.schema import Config
from ray_jobs.sweep.question import sweep_of

ACCELERATORS: dict[str, GpuName] = {  # Ray's names; an A100 that does not say which counts as the smaller
    "A100": "A100-40",
    "A100-40G": "A100-40",
    "A100-80G": "A100-80",
    "H100": "H100",
    "H200": "H200",
    "B200": "B200",
}


@dataclass(frozen=True)
class Room:
    """Trials at a time, what each worker reserves, and the decimal GB that it may use (None: unknown)."""

    concurrent: int
    resources: dict[str, float]
    memory_gb: float | None
    workers: int  # of a trial


def room(session: Session, config: Config) -> Room:
    """See what the cluster holds; ValueError if not even one trial has a place.

    CPUs: a trial's worker computes with engine.threads; a local Ray is given its real cores: it pretends to have more.
    """
    nodes, workers = list(session.nodes().values()), sweep_of(config).workers
    threads = config.engine.threads
    gpus = sum(int(node.gpus) for node in nodes)
    cpus = [float(os.cpu_count() or 1)] if session.is_local else [node.cpus for node in nodes]
    places = gpus or max(1, sum(int(count / threads) for count in cpus))
    if workers > places:
        kind = "GPUs" if gpus else "places for a worker"
        raise ValueError(f"sweep.workers={workers} is more than the {places} {kind} of the cluster; lower it")
    concurrent = min(places // workers, sweep_of(config).concurrent or places)
    if gpus:
        return Room(concurrent, {"CPU": 1.0, "GPU": 1.0}, _device_gb(config), workers)
    free = [node["Resources"].get("memory", 0.0) for node in ray.nodes() if node["Alive"]]
    each = min((size for size in free if size), default=0.0) / -(-concurrent * workers // len(nodes))
    return Room(concurrent, {"CPU": 1.0 if session.is_local else float(threads)}, each / 1e9 or None, workers)


def needs_gb(config: Config, vocabulary: int, workers: int) -> float:
    """Decimal GB that one worker of a trial needs, by the planner: states, activations, buckets, context."""
    engine, model = config.engine, config.model
    _, micro_rows = engine.split(workers, model.row_tokens)
    asked = PlanConfig(
        parameters=kind_of(model).num_parameters(model, vocabulary),
        trained=part_that_trains(model, vocabulary).trained,
        gpus=workers,
        row_tokens=model.row_tokens,
        layers=model.layers,
        width=model.width,
        vocabulary=vocabulary,
        recompute=model.recompute,
    )
    any_gpu = "A100-80"  # what a device holds is compared later
    return float(memory_gb(Case(asked, any_gpu, workers), engine.zero_stage, micro_rows)["total"])


def _device_gb(config: Config) -> float | None:
    if config.plan is not None and config.plan.gpu is not None:
        return GPUS[config.plan.gpu].memory_gb
    names = {name.partition(":")[2] for name in ray.cluster_resources() if name.startswith("accelerator_type:")}
    known = [GPUS[ACCELERATORS[name]].memory_gb for name in names if name in ACCELERATORS]
    return min(known) if len(known) == len(names) and known else None
