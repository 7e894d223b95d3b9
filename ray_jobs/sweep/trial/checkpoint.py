"""How is a trial's training state kept, so that it goes on after any kill, and another can take its weights over?

As a commit like a run's: a manifest, published once and atomically, that names every rank's file with its checksum;
beside them the averaged weights. There is no coordinator: all ranks meet in a collective, which a trial can afford,
because it commits at its marks and every `checkpoint.every_seconds`. Only the newest commit is kept.
"""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import msgspec
import torch.distributed as dist

from cluster.storage.store import Store
from models.engine import checkpoint
from models.engine.average import WeightAverage
from models.engine.engine import Engine
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.files import fetch_files
from ray_jobs.checkpoints.position import Position, StoredFile, TrialState
from ray_jobs.checkpoints.retention import retain
from ray_jobs.checkpoints.weights import base_of
from ray_jobs.store.paths import checkpoint_folder
from ray_jobs.training.worker.collectives import gather_objects
from ray_jobs.training.worker.restore import check_probe


def save(
    store: Store,
    run: str,
    attempt: str,
    engine: Engine,
    average: WeightAverage,
    state: TrialState,
) -> None:
    """Commit weights, moments, average and `state` under `run`; all ranks call it. Older commits are deleted.

    attempt: a name for the folder, of this process alone: one that should be dead cannot write into it.
    """
    here = state.position
    folder = checkpoint_folder(run, here.step, attempt)
    files = _write(store, folder, "rank", checkpoint.snapshot(engine))
    averages = _write(store, folder, "average", average.snapshot())
    if dist.get_rank() == 0:
        whole = msgspec.structs.replace(state, average=averages)
        commits.publish(store, commits.Commit(run, here.step, 0, here.step_in_round, files, whole))
        retain(store, run, 1)


def load_trial(
    store: Store, found: commits.Commit, engine: Engine, average: WeightAverage, seed: int, *, is_own: bool
) -> Position:
    """Put a commit into the engine, and its average if it has one. All ranks call it; WrongWeightsError stops.

    seed: what adapters are drawn from where the commit has none.

    A damaged one raises DamagedCheckpointError; the trial's own is put aside, so that the next try begins before it.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
            paths = fetch_files(store, found, Path(scratch))
            if engine.config.trains_part:
                base = base_of(store, found)
                checkpoint.restore_frozen(engine, fetch_files(store, base, Path(scratch)) if base else paths)
                engine.base = (base or found).name
            checkpoint.restore_engine(engine, paths, seed)
            check_probe(engine, found)
            if isinstance(found.state, TrialState):
                average.restore(fetch_files(store, replace(found, files=found.state.average), Path(scratch)))
            else:
                average.restart()
    except commits.DamagedCheckpointError as error:
        if is_own and dist.get_rank() == 0:
            commits.put_aside(store, found.run, found.step, str(error))
        raise
    return found.state.position


def _write(store: Store, folder: str, name: str, snapshot: checkpoint.Snapshot) -> tuple[StoredFile, ...]:
    """Write every rank's part; the places of all, in rank order."""
    path = f"{folder}/{name}-{dist.get_rank():05d}.safetensors"
    scratch = Path(tempfile.mkdtemp(prefix="headrace-"))
    try:
        place = store.local_path(path) or scratch / "part.safetensors"
        place.parent.mkdir(parents=True, exist_ok=True)
        written = snapshot.write(place)
        if store.local_path(path) is None:
            store.upload(place, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return tuple(gather_objects(StoredFile(path, written.size_bytes, written.sha256, written.header), StoredFile))
