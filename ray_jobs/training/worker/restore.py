"""Where does a worker group begin, and do its weights do what was committed?

Rank 0 finds the newest checkpoint that is whole; all ranks load it. A damaged one is put aside and the one before is
used. Then the probe's loss (see `Engine.probe`) is compared with the one that the checkpoint recorded: equal bytes can
still be the wrong model, if the code that reads them changed.
"""

import math
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch.distributed as dist

from cluster.runtime.actors import Handle
from cluster.storage.store import Store
from data_ops.ingest.events import Warned
from models.engine import checkpoint
from models.engine.average import WeightAverage
from models.engine.engine import Engine
from models.engine.parts import Part
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.position import TrainingState
from ray_jobs.checkpoints.ranges import fetch, node_folder, open_parts
from ray_jobs.training.actors.coordinator import Coordinator
from ray_jobs.training.events import Event
from ray_jobs.training.worker.collectives import all_reduce_max, broadcast_int

PROBE_TOLERANCE = {"fp32": 1e-4, "bf16": 2e-2}  # relative; another world size or ZeRO stage only rounds otherwise


class WrongWeightsError(RuntimeError):
    """The weights that were loaded do not compute what the saved ones did."""


@dataclass(frozen=True)
class Beginning:
    """Whose weights are wanted: those of a run, or where it has committed none, those that it begins with."""

    store: Store
    run: str
    base: str | None  # checkpoint; None: the engine has its initial weights
    seed: int  # that adapters are drawn from


def restore(
    beginning: Beginning,
    engine: Engine,
    average: WeightAverage | None,
    coordinator: Handle[Coordinator],
    tell: Callable[[Event], None],
) -> TrainingState | None:
    """Load the newest whole checkpoint into the engine; what it says of the run, None at the beginning.

    average: filled too, if there is one; where the checkpoint holds none it begins at the weights.

    OSError if it could not be fetched, which is not the checkpoint's fault: Ray Train then starts the group again.
    WrongWeightsError stops the run.
    """
    rank, store, run = dist.get_rank(), beginning.store, beginning.run
    kinds = checkpoint.KINDS if average is None else (*checkpoint.KINDS, checkpoint.AVERAGE)
    while True:
        found = commits.latest(store, run) if rank == 0 else None
        step = broadcast_int(-1 if found is None else found.step)
        if rank == 0:
            coordinator.call(Coordinator.begin_at, found.step if found else None).get()
        if step < 0 and beginning.base is None:
            return None
        begins = step < 0
        commit = commits.by_name(store, beginning.base) if begins and beginning.base else commits.load(store, run, step)
        with node_folder(broadcast_int(secrets.randbits(62))) as shared:
            _restore_frozen(beginning, engine, shared)
            parts, damage, trouble = _fetch(store, commit, checkpoint.owned_stretches(engine), kinds, shared)
            trouble_anywhere = all_reduce_max(2 if trouble else 1 if damage else 0)
            if trouble_anywhere == 0:
                checkpoint.restore_engine(engine, parts, beginning.seed)
                if average is not None and (begins or not average.restore(parts)):
                    average.restart()
                all_reduce_max(0)  # nobody of this node reads from the folder any more
                if begins:
                    return None
                check_probe(engine, commit)
                return commit.state
        if trouble_anywhere == 2 or begins:
            why = trouble or damage or "see the others"
            raise OSError(f"checkpoint {commit.name} could not be fetched by every worker: {why}")
        if rank == 0:
            why = damage or "another worker could not read it"
            commits.put_aside(store, run, step, why)
            tell(Warned(text=f"checkpoint {step} is put aside: {why}"))


def _restore_frozen(beginning: Beginning, engine: Engine, shared: Path) -> None:
    """Load what does not train from what the run began with, once: it never changes. OSError where it cannot be had."""
    if engine.base == beginning.base or not engine.config.trains_part or beginning.base is None:
        return
    commit = commits.by_name(beginning.store, beginning.base)
    stretches = checkpoint.frozen_stretches(engine)
    parts, damage, trouble = _fetch(beginning.store, commit, stretches, ("weight",), shared)
    if all_reduce_max(int(bool(damage or trouble))):
        why = damage or trouble or "see the others"
        raise OSError(f"checkpoint {commit.name}, which the run began with, could not be fetched by all workers: {why}")
    checkpoint.restore_frozen(engine, parts)
    engine.base = beginning.base


def _fetch(
    store: Store,
    commit: commits.Commit,
    stretches: Sequence[tuple[str, int, int]],
    kinds: Sequence[str],
    shared: Path,
) -> tuple[list[Part], str, str]:
    """The checkpoint's files with these stretches of them, or what is wrong, or what went wrong on the way."""
    try:
        parts = open_parts(store, commit, shared)
        fetch(parts, checkpoint.ranges_needed(stretches, parts, kinds))
        return parts, "", ""
    except (commits.DamagedCheckpointError, FileNotFoundError) as error:
        return [], str(error), ""
    except OSError as error:
        return [], "", str(error)


def check_probe(engine: Engine, commit: commits.Commit) -> None:
    """Raise WrongWeightsError unless the weights compute what the checkpoint recorded; all ranks call it."""
    recorded, found = commit.state.probe_loss, engine.probe()
    if recorded is None:  # of weights that a run begins with
        return
    tolerance = max(PROBE_TOLERANCE[commit.state.precision], PROBE_TOLERANCE[engine.precision])
    if not math.isclose(found, recorded, rel_tol=tolerance):
        raise WrongWeightsError(
            f"checkpoint {commit.name} recorded a probe loss of {recorded:.6f}, its weights give {found:.6f} here; "
            "resume with the version of Headrace and torch that wrote it, or under another name"
        )
