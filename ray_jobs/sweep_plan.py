"""What will a sweep train, seen before a cluster is touched?

Every point of the space becomes a whole configuration, checked like any other, so a batch that is no whole number of
rows or a schedule without an end is told at once. What a sweep was made with is written down; the same name goes on
with the same question or is refused.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from cluster.storage import Store
from data_ops.lake import Lake
from ray_jobs import commit as commits
from ray_jobs.config import Config, ConfigError, check, merge
from ray_jobs.lease import holder
from ray_jobs.open_store import check_store
from ray_jobs.preflight import check_sources
from tune.policy import Member
from tune.settings import STARTS, SweepConfig
from tune.space import Point, couple, nested, point_key

FREE = ("cluster", "wandb", "telemetry", "checkpoint", "gate", "plan", "sources", "window", "curate", "store", "name")


def check_sweep(config: Config) -> list[Point]:
    """Raise ConfigError for every mistake that can be seen without a cluster; the points that are known already."""
    sweep = asked(config)
    store = Store.open(config.store)
    store.check_writable()
    check_store(store, config)
    start = starting_point(store, config)
    found = [] if sweep.way == "tpe" else points(config)
    check_points(config, found, tokens_of(start))
    if Lake(store).last_window() < 0:
        check_sources(config, follow=False)
    live = holder(store, sweep_run(config))
    if live is not None:
        raise ConfigError(f"sweep {sweep_run(config)} is being driven by process {live.pid}; wait for it, or stop it")
    return found


def tokens_of(start: commits.Commit | None) -> int:
    """Tokens that are in the weights a sweep starts from."""
    return int(start.state["position"]["tokens"]) if start else 0


def sweep_run(config: Config) -> str:
    """Under which run everything of a sweep stands; no run can be called so."""
    return f"{config.name}@sweep"


def asked(config: Config) -> SweepConfig:
    """The sweep's settings; ConfigError without a space."""
    if config.sweep is None or not config.sweep.space:
        raise ConfigError(
            "sweep.space is empty; name what may differ, for example sweep.space='{optim.lr: [1e-3, 3e-3]}'"
        )
    return config.sweep


def starting_point(store: Store, config: Config) -> commits.Commit | None:
    """The checkpoint that every trial starts from; None: from scratch."""
    start = asked(config).start
    if start == "scratch":
        return None
    name = start
    if start == "champion":
        champion = commits.read_champion(store)
        if champion is None:
            raise ConfigError(f"sweep.start=champion, but no checkpoint of {config.store} is in service; use scratch")
        name = champion["checkpoint"]
    try:
        found = commits.newest_readable(store, config.name) if start == "latest" else commits.by_name(store, name)
    except (FileNotFoundError, ValueError):
        raise ConfigError(f"sweep.start={start} is no checkpoint of {config.store}; use {STARTS}") from None
    if found is None:
        raise ConfigError(f"sweep.start=latest, but run {config.name} has no checkpoint yet; use sweep.start=scratch")
    made = found.state["model"]
    differs = [k for k, v in config.model.model_dump(mode="json").items() if made.get(k) != v]
    if differs or any(d.path.startswith("model.") for d in asked(config).dimensions.dimensions):
        which = f"model.{differs[0]} is {made.get(differs[0])} there" if differs else "its shape cannot be swept"
        raise ConfigError(f"sweep.start={start} is checkpoint {found.name}, and {which}; use sweep.start=scratch")
    return found


def points(config: Config) -> list[Point]:
    """The points of a grid or of random search; under pbt those of the first generation."""
    sweep = asked(config)
    space = sweep.dimensions
    return space.grid(sweep.trials, config.seed) if sweep.way == "grid" else space.random(sweep.trials, config.seed)


def trial_config(config: Config, point: Point, start_tokens: int) -> Config:
    """The whole configuration of a trial; ConfigError names the point."""
    sweep, values = asked(config), _settings(config, point)
    if lacks_end(values):
        values["optim"]["schedule"]["tokens"] = start_tokens + sweep.mark_tokens(config.model.row_tokens)[-1]
    values.setdefault("engine", {})["workers"] = sweep.workers
    try:
        return check(values)
    except ConfigError as error:
        raise ConfigError(f"a trial with {said(point)} is impossible: {error}") from None


def best_values(config: Config, point: Point) -> dict[str, Any]:
    """A configuration for `headrace run` with a trial's settings; a sweep from scratch gives a run of its own.

    A schedule that ended where the trials end has no end here: beyond it a run would train at learning rate 0.
    """
    values = _settings(config, point)
    if asked(config).start == "scratch":
        values["name"] = f"{config.name}-best"
    return values


def lacks_end(values: Mapping[str, Any]) -> bool:
    """Do these settings have a schedule that needs an end, and none?"""
    schedule = values.get("optim", {}).get("schedule", {})
    return schedule.get("kind") in ("cosine", "wsd") and schedule.get("tokens") is None


def _settings(config: Config, point: Point) -> dict[str, Any]:
    """What the user and a point set, as plain values."""
    if asked(config).lr_rule == "sqrt":
        point = couple(point, config.engine.batch_tokens, config.optim.lr)
    return merge(chosen(config), nested(point))


def chosen(config: Config) -> dict[str, Any]:
    """What the user set, as plain values, without the sweep."""
    return dict(config.model_dump(mode="json", exclude_unset=True, exclude={"sweep", "plan"}))


def check_points(config: Config, found: Iterable[Point], start_tokens: int) -> None:
    """Check every point, and both ends of every distribution; ConfigError tells all that are impossible."""
    mistakes: dict[str, None] = {}
    kept = [
        d.path for d in asked(config).dimensions.dimensions if d.path.startswith(("model.", "reservoir.", "round."))
    ]
    if asked(config).scheduler == "pbt" and kept:
        raise ConfigError(f"sweep.space.{kept[0]} cannot change in the middle of training, as pbt would; leave it out")
    for point in [*found, *asked(config).dimensions.corners()]:
        try:
            trial_config(config, point, start_tokens)
        except ConfigError as error:
            mistakes.setdefault(str(error))
    try:
        asked(config).mark_tokens(config.model.row_tokens)
    except ValueError as error:
        mistakes.setdefault(str(error))
    if mistakes:
        raise ConfigError("\n".join(list(mistakes)[:8]))


def question(config: Config, start: commits.Commit | None) -> dict[str, Any]:
    """What a sweep's results depend on: the same question, the same name."""
    values = config.model_dump(mode="json", exclude=set(FREE))
    for name in ("concurrent", "workers"):
        values["sweep"].pop(name)
    values["engine"].pop("workers")
    return {**values, "start": start.name if start else None}


def settle(store: Store, run: str, asking: dict[str, Any]) -> None:
    """Write the question down, or compare it with what stands there; ConfigError names the first difference."""
    path = commits.run_path(run, "question.json")
    if store.publish(path, json.dumps(asking, indent=1).encode()):
        return
    there = json.loads(store.read(path))
    for block in sorted(asking.keys() | there.keys()):
        mine, theirs = asking.get(block), there.get(block)
        if mine != theirs:
            both = isinstance(mine, dict) and isinstance(theirs, dict)
            keys = [k for k in mine if mine[k] != theirs.get(k)] if both and isinstance(mine, dict) else []
            name = f"{block}.{keys[0]}" if keys else block
            if keys and isinstance(mine, dict) and isinstance(theirs, dict):
                mine, theirs = mine[keys[0]], theirs.get(keys[0])
            raise ConfigError(
                f"{name}={mine} differs from {theirs}, with which sweep {run} was begun; set it back, or give name=..."
            )


def said(point: Point) -> str:
    """A point for people.

    >>> said({"optim.lr": 0.001, "engine.batch_tokens": 4096})
    'engine.batch_tokens=4096, optim.lr=0.001'
    """
    return ", ".join(f"{path}={json.dumps(value).strip(chr(34))}" for path, value in sorted(point.items()))


def trial_key(member: Point | Member) -> str:
    """The name of a trial: of its point, or its place in a population."""
    return member.key if isinstance(member, Member) else point_key(member)
