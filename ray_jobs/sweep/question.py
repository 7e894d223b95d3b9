"""What will a sweep train, seen before a cluster is touched?

Every point of the space becomes a whole configuration, checked like any other, so a batch that is no whole number of
rows or a schedule without an end is told at once. What a sweep was made with is written down; the same name goes on
with the same question or is refused.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from cluster.storage.state import read_json, write_json
from cluster.storage.store import Store
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.config.reading import check, overlay
from ray_jobs.config.schema import Config
from ray_jobs.outcome import ConfigError
from ray_jobs.store.paths import run_path
from tune.config import SweepConfig
from tune.policy import Member
from tune.space import Point, couple, nested, point_key

JOB = "job.json"  # what a sweep that was begun works with; written last of what it prepares
ENDING = ("cosine", "wsd")  # schedules that need an end
FREE = ("cluster", "wandb", "telemetry", "checkpoint", "gate", "plan", "sources", "window", "curate", "store", "name")


def sweep_run(config: Config) -> str:
    """Under which run everything of a sweep stands; no run can be called so."""
    return f"{config.name}@sweep"


def sweep_of(config: Config) -> SweepConfig:
    """The sweep's settings; ConfigError without a space."""
    if config.sweep is None or not config.sweep.space:
        raise ConfigError(
            "sweep.space is empty; name what may differ, for example sweep.space='{optim.lr: [1e-3, 3e-3]}'"
        )
    return config.sweep


def points(config: Config) -> list[Point]:
    """The points of a grid or of random search; under pbt those of the first generation."""
    sweep = sweep_of(config)
    space = sweep.dimensions
    return space.grid(sweep.trials, config.seed) if sweep.way == "grid" else space.random(sweep.trials, config.seed)


def trial_config(config: Config, point: Point, start_tokens: int) -> Config:
    """The whole configuration of a trial; ConfigError names the point."""
    sweep, values = sweep_of(config), _settings(config, point)
    marks = sweep.mark_tokens(config.model.row_tokens)
    if lacks_end(values):
        values = overlay(values, _ending(start_tokens + marks[-1]))
    values = overlay(values, {"engine": {"workers": sweep.workers}})
    try:
        trial = check(values)
        if trial.engine.batch_tokens > marks[0]:
            raise ConfigError(
                f"engine.batch_tokens={trial.engine.batch_tokens} is more than the first mark of {marks[0]:,} tokens, "
                "where it would be judged untrained; use a smaller batch, more sweep.tokens, or fewer marks"
            )
    except ConfigError as error:
        raise ConfigError(f"a trial with {said(point)} is impossible: {error}") from error
    return trial


def best_values(config: Config, point: Point, end_tokens: int | None) -> dict[str, object]:
    """A configuration for `headrace run` with a trial's settings; a sweep from scratch gives a run of its own.

    end_tokens: where the trial's schedule ended, which is taken over where the schedule needs an end and has none.
    """
    values = _settings(config, point)
    if lacks_end(values):
        values = overlay(values, _ending(end_tokens))
    if sweep_of(config).start == "scratch":
        values["name"] = f"{config.name}-best"
    return values


def _ending(tokens: int | None) -> dict[str, object]:
    return {"optim": {"schedule": {"tokens": tokens}}}


def schedule_of(values: Mapping[str, object]) -> Mapping[str, object]:
    """What settings say of the schedule."""
    optim = values.get("optim")
    schedule = optim.get("schedule") if isinstance(optim, Mapping) else None
    return schedule if isinstance(schedule, Mapping) else {}


def lacks_end(values: Mapping[str, object]) -> bool:
    """Do these settings have a schedule that needs an end, and none?"""
    schedule = schedule_of(values)
    return schedule.get("kind") in ENDING and schedule.get("tokens") is None


def _settings(config: Config, point: Point) -> dict[str, object]:
    """What the user and a point set, as plain values."""
    if sweep_of(config).lr_rule == "sqrt":
        point = couple(point, config.engine.batch_tokens, config.optim.lr)
    return overlay(chosen(config), nested(point))


def chosen(config: Config) -> dict[str, object]:
    """What the user set, as plain values, without the sweep."""
    return dict(config.model_dump(mode="json", exclude_unset=True, exclude={"sweep", "plan"}))


def check_points(config: Config, found: Iterable[Point], start_tokens: int) -> None:
    """Check every point, and both ends of every distribution; ConfigError tells all that are impossible."""
    try:
        sweep_of(config).mark_tokens(config.model.row_tokens)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    mistakes: dict[str, str] = {}
    fixed = ("model.", "reservoir.", "round.", "optim.kind")
    kept = [d.path for d in sweep_of(config).dimensions.dimensions if d.path.startswith(fixed)]
    if sweep_of(config).scheduler == "pbt" and kept:
        raise ConfigError(f"sweep.space.{kept[0]} cannot change in the middle of training, as pbt would; leave it out")
    for point in [*found, *sweep_of(config).dimensions.corners()]:
        try:
            trial_config(config, point, start_tokens)
        except ConfigError as error:
            mistakes.setdefault(str(error.__cause__ or error), str(error))  # what is wrong in all trials is told once
    if mistakes:
        raise ConfigError("\n".join(list(mistakes.values())[:8]))


def question(config: Config, start: commits.Commit | None) -> dict[str, object]:
    """What a sweep's results depend on: the same question, the same name."""
    values = config.model_dump(mode="json", exclude=set(FREE))
    for name in ("concurrent", "workers"):
        values["sweep"].pop(name)
    values["engine"].pop("workers")
    return {**values, "start": start.name if start else None}


def fix_question(store: Store, run: str, asking: Mapping[str, object]) -> None:
    """Write the question down, or compare it with that of the sweep that was begun; ConfigError names a difference.

    Until there is a job the question may turn out to have no answer (too little text), so it may be asked otherwise.
    """
    path = run_path(run, "question.json")
    if not store.exists(run_path(run, JOB)):
        write_json(store, path, asking)
        return
    there = read_json(store, path, dict[str, Any])
    for block in sorted(asking.keys() | there.keys()):
        mine, theirs = asking.get(block), there.get(block)
        if mine != theirs:
            both = isinstance(mine, dict) and isinstance(theirs, dict)
            keys = [k for k in mine if mine[k] != (theirs or {}).get(k)] if both and isinstance(mine, dict) else []
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
