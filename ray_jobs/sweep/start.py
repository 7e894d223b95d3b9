"""From which weights does every trial of a sweep start, and how do they stay?

The checkpoint that `sweep.start` names is copied under the sweep before anything is trained: a live run deletes its old
checkpoints and a champion is followed by another, but every trial, also after the sweep was started again, begins with
the same weights. Costs one checkpoint's bytes.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import msgspec

from cluster.storage.state import read_json
from cluster.storage.store import Store
from models.kinds.kinds import model_config
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.checkpoints.champion import read_champion
from ray_jobs.checkpoints.files import fetch_files
from ray_jobs.config.schema import Config
from ray_jobs.origin.record import read_origin
from ray_jobs.outcome import ConfigError
from ray_jobs.store.paths import checkpoint_folder, run_path
from ray_jobs.sweep.question import JOB, sweep_of, sweep_run
from ray_jobs.sweep.trial.job import start_run
from tune.config import STARTS

TRIES = 3  # a live run may delete a checkpoint while it is copied; it has a newer one then


class Begun(msgspec.Struct):
    """Of the job that a sweep was begun with."""

    start: str | None


def starting_point(store: Store, config: Config) -> commits.Commit | None:
    """The checkpoint that every trial starts from, by its own name; None: from scratch.

    Of a sweep that was begun, the one it was begun with, whatever `latest` or `champion` are now.
    """
    run, start = sweep_run(config), sweep_of(config).start
    try:
        begun_with = read_json(store, run_path(run, JOB), Begun).start
    except FileNotFoundError:
        if start == "scratch" and config.model.start is not None:
            return _beginning(store, config)
        return None if start == "scratch" else _named(store, config)
    if begun_with is None:
        return None
    found = _copy_of(store, run)
    if found is None:
        raise ConfigError(
            f"the weights of {begun_with}, from which sweep {run} starts, are gone from {config.store}; "
            "give name=... for a new sweep"
        )
    return found


def pin(store: Store, config: Config) -> commits.Commit | None:
    """Copy the checkpoint that the trials start from under the sweep, unless it is there; as `starting_point`."""
    run, told = sweep_run(config), ""
    for _ in range(TRIES):
        found = starting_point(store, config)
        there = _copy_of(store, run)
        if found is None or (there is not None and there.name == found.name):
            return found
        try:
            return copy_start(store, found, run)
        except (FileNotFoundError, commits.DamagedCheckpointError) as error:
            told = f"sweep.start={sweep_of(config).start} is checkpoint {found.name}, which is not whole ({error})"
    raise ConfigError(f"{told}; use another sweep.start")


def copy_start(store: Store, found: commits.Commit, run: str) -> commits.Commit:
    """Commit the checkpoint again under the sweep, in place of what was copied before; as `starting_point`.

    FileNotFoundError or DamagedCheckpointError if it is not whole.
    """
    copied, folder = start_run(run), checkpoint_folder(start_run(run), found.step, "copy")
    store.delete(run_path(copied))
    files = []
    with tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
        for file, place in zip(found.files, fetch_files(store, found, Path(scratch)), strict=True):
            path = f"{folder}/{file.path.rpartition('/')[2]}"
            store.upload(place, path)
            files.append(replace(file, path=path))
    state = msgspec.structs.replace(found.state, copied_from=found.run)
    commits.publish(store, replace(found, run=copied, files=tuple(files), state=state))
    return replace(found, files=tuple(files), state=state)


def tokens_of(start: commits.Commit | None) -> int:
    """Tokens that are in the weights a sweep starts from."""
    return start.state.position.tokens if start else 0


def _beginning(store: Store, config: Config) -> commits.Commit:
    """The weights that `model.from` names, where the run of this name has taken them in."""
    origin = read_origin(store, config.name)
    if origin is None or origin.named != config.model.start:
        raise ConfigError(
            f"sweep.start=scratch with model.from={config.model.start}: run {config.name} has not begun with these "
            "weights; run it once, or use sweep.start=RUN/STEP"
        )
    return commits.by_name(store, origin.checkpoint)


def _copy_of(store: Store, run: str) -> commits.Commit | None:
    """What was copied under the sweep, by the name it had."""
    found = commits.newest_readable(store, start_run(run))
    return replace(found, run=found.state.copied_from or found.run) if found else None


def _named(store: Store, config: Config) -> commits.Commit:
    """The checkpoint that `sweep.start` names now; ConfigError if there is none, or its model is another."""
    name = start = sweep_of(config).start
    if start == "champion":
        champion = read_champion(store)
        if champion is None:
            raise ConfigError(f"sweep.start=champion, but no checkpoint of {config.store} is in service; use scratch")
        name = champion.checkpoint
    try:
        found = commits.newest_readable(store, config.name) if start == "latest" else commits.by_name(store, name)
    except (FileNotFoundError, ValueError):
        raise ConfigError(f"sweep.start={start} is no checkpoint of {config.store}; use {STARTS}") from None
    if found is None:
        raise ConfigError(f"sweep.start=latest, but run {config.name} has no checkpoint yet; use sweep.start=scratch")
    if _optimizers(config) - {found.state.optimizer}:
        raise ConfigError(
            f"sweep.start={start} is checkpoint {found.name}, which holds the states of {found.state.optimizer}; set "
            f"optim.kind={found.state.optimizer}, or use sweep.start=scratch"
        )
    made = model_config(found.state.model).model_dump(mode="json")
    differs = [k for k, v in config.model.model_dump(mode="json").items() if made.get(k) != v and k != "from"]
    if differs or any(d.path.startswith("model.") for d in sweep_of(config).dimensions.dimensions):
        which = f"model.{differs[0]} is {made.get(differs[0])} there" if differs else "its shape cannot be swept"
        raise ConfigError(f"sweep.start={start} is checkpoint {found.name}, and {which}; use sweep.start=scratch")
    return found


def _optimizers(config: Config) -> set[object]:
    """The optimizers that trials may have."""
    swept = [d for d in sweep_of(config).dimensions.dimensions if d.path == "optim.kind"]
    return set(swept[0].values or ()) if swept else {config.optim.kind}
