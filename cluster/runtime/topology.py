"""How many workers fit on this cluster, and how much of it does each take?

Pure: facts about nodes in, a `Placement` out. One GPU per worker where there are GPUs, else CPU workers. A
worker reserves 1 CPU (0.5 if short) and a quarter of every node, at least 1 CPU, stays free: Ray Data waits
silently for as long as workers hold every CPU. World sizes divide the batch, which so stays the same.
"""

from collections.abc import Sequence
from typing import NamedTuple

FREE_SHARE, FREE_CPUS = 0.25, 1.0
CPU_STEPS = (1.0, 0.5)


class Node(NamedTuple):
    """What one machine offers: logical CPUs and GPUs."""

    cpus: float
    gpus: float = 0.0


class Placement(NamedTuple):
    """How a worker group sits on the cluster; `world_sizes` are all sizes it may be resized to."""

    workers: int
    cpus_per_worker: float
    gpus_per_worker: int
    free_cpus: float
    world_sizes: tuple[int, ...]

    @property
    def resources_per_worker(self) -> dict[str, float]:
        """Return what Ray Train's `ScalingConfig` takes."""
        gpus = {"GPU": float(self.gpus_per_worker)} if self.gpus_per_worker else {}
        return {"CPU": self.cpus_per_worker, **gpus}


def place(requested: int | tuple[int, int], nodes: Sequence[Node], batch_rows: int) -> Placement:
    """Choose the workers of a run and what each reserves; ValueError as in `choose_workers`."""
    workers = choose_workers(requested, nodes, batch_rows)
    cpus = next(step for step in CPU_STEPS if workers <= _capacity(nodes, step))
    return Placement(
        workers=workers,
        cpus_per_worker=cpus,
        gpus_per_worker=int(_has_gpus(nodes)),
        free_cpus=sum(node.cpus for node in nodes) - workers * cpus,
        world_sizes=world_sizes(batch_rows, most=capacity(nodes)),
    )


def choose_workers(requested: int | tuple[int, int], nodes: Sequence[Node], batch_rows: int) -> int:
    """Return the number asked for, or the largest of a (least, most) range that fits and divides the batch.

    batch_rows: rows of the global batch, engine.batch_tokens / model.row_tokens. ValueError says the way out.

    >>> choose_workers((2, 8), [Node(cpus=96, gpus=8)], batch_rows=36)
    6
    """
    least, most = (requested, requested) if isinstance(requested, int) else requested
    if not 1 <= least <= most:
        raise ValueError(f"engine.workers={requested} is no range; write one number or [least, most] from 1 up")
    fitting, kind = capacity(nodes), "GPUs" if _has_gpus(nodes) else "CPU workers"
    if least > fitting:
        raise ValueError(_too_many(least, fitting, nodes))
    sizes = [size for size in world_sizes(batch_rows, most=min(most, fitting)) if size >= least]
    if sizes:
        return sizes[-1]
    allowed = ", ".join(map(str, world_sizes(batch_rows, most=fitting)))
    asked = f"{least}" if least == most else f"{least}..{most}"
    raise ValueError(
        f"engine.workers={asked} cannot share a batch of {batch_rows} rows evenly; with {fitting} {kind} "
        f"here use {allowed}, or an engine.batch_tokens of {-(-batch_rows // least) * least} rows"
    )


def world_sizes(batch_rows: int, most: int) -> tuple[int, ...]:
    """Return every number of workers up to `most` that divides the batch.

    >>> world_sizes(32, most=6)
    (1, 2, 4)
    """
    if batch_rows < 1:
        raise ValueError(f"batch_rows={batch_rows} holds no row; raise engine.batch_tokens")
    return tuple(size for size in range(1, min(batch_rows, most) + 1) if batch_rows % size == 0)


def capacity(nodes: Sequence[Node]) -> int:
    """Return how many workers fit with CPUs left free on every node."""
    return _capacity(nodes, CPU_STEPS[-1])


def _capacity(nodes: Sequence[Node], cpus_per_worker: float) -> int:
    gpus_only = _has_gpus(nodes)
    total = 0
    for node in nodes:
        usable = node.cpus - max(FREE_CPUS, FREE_SHARE * node.cpus)
        by_cpu = max(0, int(usable / cpus_per_worker))
        total += min(by_cpu, int(node.gpus)) if gpus_only else by_cpu
    return total


def _has_gpus(nodes: Sequence[Node]) -> bool:
    return any(node.gpus >= 1 for node in nodes)


def _too_many(least: int, fitting: int, nodes: Sequence[Node]) -> str:
    gpus, cpus = sum(int(node.gpus) for node in nodes), sum(node.cpus for node in nodes)
    rest = f"use engine.workers={fitting} or less, or" if fitting else "so"
    if gpus and least > gpus:
        return f"engine.workers={least} needs {least} GPUs; the cluster has {gpus}: {rest} add GPU nodes"
    return (
        f"engine.workers={least} needs {least * CPU_STEPS[-1]:g} CPUs beside a quarter of every node left to "
        f"data tasks; the cluster has {cpus:g} CPUs: {rest} add CPUs"
    )
