"""What does `headrace registry` do?"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from cluster.storage.store import Store
from cluster.storage.uri import expanded_path
from data_ops.audit.by_period import PeriodCounts
from ray_jobs.cards.comparing import difference
from ray_jobs.cards.data_card import data_card
from ray_jobs.cards.facts import CheckpointFacts, Registry
from ray_jobs.cards.listing import (
    champion_row,
    checkpoint_row,
    diff_lines,
    list_lines,
    show_lines,
)
from ray_jobs.cards.markdown import markdown
from ray_jobs.cards.model_card import model_card
from ray_jobs.cards.told import Told, gather_told
from ray_jobs.cards.web import web_page
from ray_jobs.config.schema import Config
from ray_jobs.outcome import ConfigError

Answer = tuple[list[str], Mapping[str, object]]  # lines for people, and the same as JSON values
PAGES = {"README": "model_card.html", "DATA_CARD": "data_card.html"}


def registry_command(store: Store, config: Config, action: str, names: Sequence[str], out: str | None) -> Answer:
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
        compared = difference(store, first, second)
        return diff_lines(compared), compared
    facts = registry.facts(names[0] if names else None)
    row = checkpoint_row(facts, champion_row(facts.service, registry.ancestry) if facts.service else None)
    if action == "show":
        return show_lines(row), row
    told = gather_told(registry, facts, config)
    return _written(told, out) if out is not None else _printed(told), {**row, **card_values(told), "directory": out}


def _printed(told: Told) -> list[str]:
    return markdown(model_card(told)).splitlines()


def _written(told: Told, out: str) -> list[str]:
    """Write both cards, each as Markdown and as a page; ConfigError where the folder cannot be had."""
    folder, model, data = expanded_path(out), model_card(told), data_card(told)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, card in (("README", model), ("DATA_CARD", data)):
            (folder / f"{name}.md").write_text(markdown(card), encoding="utf-8")
            (folder / PAGES[name]).write_text(web_page(card), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--out={out} cannot be written: {error.strerror or error}; name another folder") from error
    names = ", ".join(("README.md", "DATA_CARD.md", *PAGES.values()))
    return [f"cards     {names} of {told.facts.name} in {folder}"]


def write_readme(store: Store, config: Config, checkpoint: str, folder: Path) -> None:
    """Write the card of a checkpoint beside its exported weights. Raises DamagedError where it cannot be told."""
    registry = Registry(store)
    told = gather_told(registry, registry.facts(checkpoint), config)
    (folder / "README.md").write_text(markdown(model_card(told)), encoding="utf-8")


def card_values(told: Told) -> dict[str, object]:
    """The figures of both cards as JSON values."""
    sources = [_source_values(one, told.stated.sources.get(one.source)) for one in told.counts]
    time, card = told.time, told.stated.card
    return {
        "license": card.license,
        "base": told.base,
        "base_license": told.facts.origin.license if told.facts.origin else None,
        "parameters": told.parameters,
        "steps": time.steps,
        "seconds": time.seconds,
        "worker_s": time.worker_s,
        "watts": card.watts,
        "co2_g_per_kwh": card.co2_g_per_kwh,
        "counts": sources,
    }


def _source_values(one: PeriodCounts, stated: str | None) -> dict[str, object]:
    times = {name: value.isoformat() for name, value in asdict(one).items() if isinstance(value, datetime)}
    return {**asdict(one), **times, "license": stated}


def _two(registry: Registry, names: Sequence[str]) -> tuple[CheckpointFacts, CheckpointFacts]:
    """The two that are compared: those named, or one with the champion in service, or that one with the one before."""
    second = registry.facts(names[1] if len(names) > 1 else None)
    if names:
        return registry.facts(names[0]), second
    before = registry.before(second.service) if second.service else None
    if before is None:
        raise ConfigError(f"{second.name} is the only champion so far; name two checkpoints")
    return registry.facts(str(before.number)), second
