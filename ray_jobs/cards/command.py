"""What does `headrace registry` do?"""

import time
from collections.abc import Mapping, Sequence

from cluster.storage.store import Store
from ray_jobs.cards.comparing import difference
from ray_jobs.cards.facts import CheckpointFacts, Registry
from ray_jobs.cards.listing import (
    CheckpointRow,
    champion_row,
    checkpoint_row,
    diff_lines,
    list_lines,
    show_lines,
)
from ray_jobs.config.schema import Config
from ray_jobs.outcome import ConfigError

Told = tuple[list[str], Mapping[str, object]]


def registry_command(store: Store, config: Config, action: str, names: Sequence[str], out: str | None) -> Told:
    """Do it; the lines for people, and the same as JSON values. ConfigError for what is not there."""
    most = {"list": 0, "diff": 2}.get(action, 1)
    if len(names) > most:
        raise ConfigError(f"registry {action} takes {most or 'no'} ID, {len(names)} are given; leave {names[most]} out")
    if out is not None and action != "card":
        raise ConfigError(f"--out={out} is of registry card; leave it out")
    registry = Registry(store)
    if action == "list":
        rows = [champion_row(one, registry.ancestry) for one in registry.champions]
        return list_lines(rows, time.time()), {"store": store.uri, "champions": rows}
    if action == "diff":
        first, second = _two(registry, names)
        told = difference(store, first, second)
        return diff_lines(told), told
    row = told_of(registry, registry.facts(names[0] if names else None))
    return show_lines(row), row


def told_of(registry: Registry, facts: CheckpointFacts) -> CheckpointRow:
    """What `show` tells of a checkpoint."""
    return checkpoint_row(facts, champion_row(facts.service, registry.ancestry) if facts.service else None)


def _two(registry: Registry, names: Sequence[str]) -> tuple[CheckpointFacts, CheckpointFacts]:
    """The two that are compared: those named, or one with the champion in service, or that one with the one before."""
    second = registry.facts(names[1] if len(names) > 1 else None)
    if names:
        return registry.facts(names[0]), second
    before = registry.before(second.service) if second.service else None
    if before is None:
        raise ConfigError(f"{second.name} is the only champion so far; name two checkpoints")
    return registry.facts(str(before.number)), second
