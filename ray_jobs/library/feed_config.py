"""What decides the batches of somebody else's loop, and how is it kept with the run?"""

from collections.abc import Mapping

from pydantic import Field, ValidationError, model_validator

from cluster.storage.state import publish_json, read_json, write_json
from cluster.storage.store import Store
from cluster.units import Settings
from data_ops.mixing.config import MixtureConfig
from data_ops.rounds.config import RoundConfig
from data_ops.rounds.manifest import Planning, Shape
from data_ops.sampling.config import ReservoirConfig
from ray_jobs.outcome import ConfigError
from ray_jobs.store.paths import fed_path


class FeedConfig(Settings):
    """The shape of a step, and what a round is made of; the words are those of docs/configuration.md."""

    row_tokens: int = Field(1024, ge=1, description="positions of a row")
    batch_tokens: int = Field(16_384, ge=1, description="positions of an optimizer step, over all ranks")
    round: RoundConfig = RoundConfig()
    reservoir: ReservoirConfig = ReservoirConfig()
    mixture: MixtureConfig | None = Field(None, description="how fresh text of several sources is mixed")

    @model_validator(mode="after")
    def _fits_together(self) -> "FeedConfig":
        if self.batch_tokens % self.row_tokens:
            raise ValueError(
                f"batch_tokens={self.batch_tokens} is no multiple of row_tokens={self.row_tokens}; "
                f"use {max(1, self.batch_tokens // self.row_tokens) * self.row_tokens}"
            )
        if self.mixture is not None and self.round.max_backlog_tokens is not None:
            raise ValueError("round.max_backlog_tokens and mixture exclude each other; leave one of them out")
        if self.round.tokens < self.batch_tokens:
            raise ValueError(
                f"round.tokens={self.round.tokens} is less than batch_tokens={self.batch_tokens}; raise it"
            )
        return self

    def planning(self, seed: int) -> Planning:
        """What decides the rounds, with the store's seed; one shard holds the same sample as many."""
        reservoir = self.reservoir.model_copy(update={"shards": 1})
        shape = Shape(self.row_tokens, self.batch_tokens // self.row_tokens)
        return Planning(self.round, reservoir, shape, seed, self.mixture)


def settings_of(store: Store, run: str, given: FeedConfig | Mapping[str, object] | None, *, keep: bool) -> FeedConfig:
    """The settings of a run: those given, else those it was started with; keep: write them down.

    Rounds that are planned stay as they are, whatever is given. Raises ConfigError for a mistake, and for another shape
    of a step than the run has.
    """
    try:
        kept = FeedConfig.model_validate(read_json(store, fed_path(run), dict[str, object]))
    except FileNotFoundError:
        kept = None
    config = (kept or FeedConfig()) if given is None else _checked(given)
    for name in ("row_tokens", "batch_tokens") if kept else ():
        if getattr(kept, name) != getattr(config, name):
            raise ConfigError(
                f"{name}={getattr(config, name)} differs from {getattr(kept, name)}, with which run {run} was started; "
                "set it back, or use another name for a new training"
            )
    if keep and config != kept:
        (publish_json if kept is None else write_json)(store, fed_path(run), config.model_dump(mode="json"))
    return config


def _checked(given: FeedConfig | Mapping[str, object]) -> FeedConfig:
    if isinstance(given, FeedConfig):
        return given
    try:
        return FeedConfig.model_validate(given)
    except ValidationError as error:
        sentences = []
        for mistake in error.errors():
            key = ".".join(str(part) for part in mistake["loc"])
            told = mistake["msg"].removeprefix("Value error, ")
            known = ", ".join(FeedConfig.model_fields)
            unknown = f"{key} is unknown; the settings of a feed are {known}, and their keys"
            told = f"{key}={mistake['input']!r}: {told}" if key else told
            sentences.append(unknown if mistake["type"] == "extra_forbidden" else told)
        raise ConfigError("\n".join(sentences)) from None
