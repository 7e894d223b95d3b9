"""What do the cards of a checkpoint tell: what the store knows of it, and what somebody stated?

The counts cost a pass over the narrow columns of `documents` and one over the manifests; all else is small.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from data_ops.audit.by_period import PeriodCounts, by_source_and_period
from models.config import ModelConfig, Objective
from models.kinds.kinds import kind_of, model_config
from ray_jobs.cards.comparing import run_settings
from ray_jobs.cards.facts import CheckpointFacts, Registry
from ray_jobs.cards.training_time import TrainingTime, training_time
from ray_jobs.config.blocks import CardConfig
from ray_jobs.config.schema import Config
from ray_jobs.store.frozen import read_tokenizer

TAKEN_IN = "weights that were taken in"  # by a run that is gone, so that nobody knows from where


@dataclass(frozen=True)
class Stated:
    """What no run can know; None: nobody stated it. sources: the licence by source."""

    card: CardConfig
    sources: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Told:
    """All that the cards say of a checkpoint. windows: how many the store had when its records were counted."""

    facts: CheckpointFacts
    before: str | None  # the champion before it
    counts: list[PeriodCounts]
    windows: int
    time: TrainingTime
    parameters: int | None
    stated: Stated
    learns: Objective = Objective.CAUSAL

    @property
    def measure(self) -> str:
        """What it is judged by, in words."""
        return self.learns.measure.replace("/", " per ")

    @property
    def base(self) -> str | None:
        """What its run began with, without a path of this machine; None: random weights."""
        origin = self.facts.origin
        if origin is None:
            return TAKEN_IN if self.facts.main.startswith("base@") else None
        if origin.is_of_hub or origin.copied_from is not None:
            return origin.copied_from or origin.named
        store, _, checkpoint = origin.named.rpartition("#")
        return checkpoint if store else origin.named.rstrip("/").rpartition("/")[2]

    @property
    def base_of_hub(self) -> str | None:
        """The same if it is a model of the hub, without its revision."""
        origin = self.facts.origin
        return origin.named.partition("@")[0] if origin is not None and origin.is_of_hub else None


class SourceSettings(msgspec.Struct):
    """Of the settings that a run wrote down: what cards want of a source."""

    license: str | None = None


class RunSettings(msgspec.Struct):
    """Of the settings that a run wrote down: what cards want."""

    sources: dict[str, SourceSettings] = {}
    card: dict[str, object] = {}


def gather_told(registry: Registry, facts: CheckpointFacts, config: Config) -> Told:
    """Gather what the cards say. What `config` states wins over what the run wrote down."""
    store, lake = registry.store, registry.lake
    before = registry.before(facts.service) if facts.service else None
    shape = _shape(facts)
    windows = lake.last_window() + 1
    return Told(
        facts=facts,
        before=before.name if before else None,
        counts=by_source_and_period(lake, facts.stretches),
        windows=windows,
        time=training_time(store, _ends(facts)),
        parameters=_parameters(registry, shape) if shape else None,
        stated=stated(run_settings(store, facts.main), config),
        learns=shape.learns if shape else Objective.CAUSAL,
    )


def stated(kept: Mapping[str, object], config: Config) -> Stated:
    """What was stated in the configuration of a run, and, where that says more, in the one given now."""
    found = msgspec.convert(kept, RunSettings)
    card = CardConfig.model_validate({**found.card, **config.card.model_dump(exclude_unset=True)})
    sources = {label: source.license for label, source in found.sources.items()}
    given = {label: source.license for label, source in config.sources.items() if source.license}
    return Stated(card, {**sources, **given})


def _ends(facts: CheckpointFacts) -> list[str]:
    """The checkpoints that its stretches end with: its own, and those that came before it."""
    return [facts.name, *(part.stand.checkpoint for part in facts.stretches[1:] if part.stand.checkpoint)]


def _shape(facts: CheckpointFacts) -> ModelConfig | None:
    """What the model is; None where this version does not know its kind any more."""
    try:
        return model_config(facts.state.model if facts.state else {}).whole.trunk  # the card is of what is exported
    except ValueError:
        return None


def _parameters(registry: Registry, shape: ModelConfig) -> int | None:
    """How many parameters the model has; None where its tokenizer is gone."""
    try:
        return kind_of(shape).num_parameters(shape, shape.tokens_of(read_tokenizer(registry.store).vocab_size))
    except (ValueError, FileNotFoundError):
        return None
