"""What decides how the documents of a store are taken in: the configuration, and what the store has frozen?"""

from data_ops.ingest.config import IngestSettings
from ray_jobs.config.schema import Config
from ray_jobs.store.frozen import Frozen

HELD_OUT = 0.05  # of a new store: at 2 % it takes 27,000 arrivals to tell a gain of 0.01 bits, at 5 % 10,800


def ingest_settings(config: Config, frozen: Frozen | None) -> IngestSettings:
    """The settings of ingest; frozen: of the store, None before it is made."""
    sources, held_out = dict(config.sources), share_held_out(config, frozen)
    return IngestSettings(sources, config.window, config.curate, config.seed, held_out, owner=config.name)


def share_held_out(config: Config, frozen: Frozen | None) -> float:
    """The share that is held out from now on: as configured, else as the store does it, else that of a new store."""
    if config.held_out is not None:
        return config.held_out
    return frozen.held_out if frozen else HELD_OUT
