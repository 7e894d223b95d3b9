"""What decides how the documents of a store are taken in: the configuration, and what the store has frozen?"""

from data_ops.conversations.template import ChatTemplate
from data_ops.ingest.config import IngestSettings
from data_ops.sources.objective import ObjectiveConfig
from data_ops.sources.protocol import SourceConfig
from models.config import ModelConfig, Objective
from ray_jobs.config.schema import Config
from ray_jobs.store.frozen import Frozen

HELD_OUT = 0.05  # of a new store: at 2 % it takes 27,000 arrivals to tell a gain of 0.01 bits, at 5 % 10,800


def ingest_settings(config: Config, frozen: Frozen | None, chat: ChatTemplate | None = None) -> IngestSettings:
    """The settings of ingest; frozen: of the store, None before it is made; chat: its template, if it has one."""
    sources = {label: _resolved(source, config.model) for label, source in config.sources.items()}
    held_out, closes = share_held_out(config, frozen), config.model.learns == Objective.MASKED
    return IngestSettings(sources, config.window, config.curate, config.seed, held_out, chat, closes, config.name)


def _resolved(source: SourceConfig, model: ModelConfig) -> SourceConfig:
    """Say what is learnt of a source, where it is left to the model.

    A conversation is trained whole: where no limit is set, it is a row, which has the document token before it.
    """
    if not isinstance(source, ObjectiveConfig):
        return source
    if source.objective is None:
        return source.model_copy(update={"objective": model.learns.value})
    if source.conversations and source.max_tokens is None:
        return source.model_copy(update={"max_tokens": model.row_tokens - 1})
    return source


def share_held_out(config: Config, frozen: Frozen | None) -> float:
    """The share that is held out from now on: as configured, else as the store does it, else that of a new store."""
    if config.held_out is not None:
        return config.held_out
    return frozen.held_out if frozen else HELD_OUT
