"""Which configuration does a command work with, and, in a store, which run?"""

import difflib
import logging
import os

from cluster.runtime.private_files import keep_private
from cluster.storage.store import Store
from cluster.telemetry.logs import setup_logging
from ray_jobs.command_line import options
from ray_jobs.config.schema import Config
from ray_jobs.config.wandb_agent import agent_config
from ray_jobs.origin.shape import begun
from ray_jobs.outcome import ConfigError
from ray_jobs.store.paths import runs_of

RUNS_NAMED = 8


def read(files: list[str] | None, overrides: list[str] | None) -> Config:
    """Read the configuration of a command, with the shape of the model that its run begins with."""
    return begun(read_as_written(files, overrides))


def refuse_unknown_options(arguments: list[str]) -> None:
    """ConfigError for an option that no command has; one with a value may be an override, as a W&B agent writes it."""
    for text in arguments:
        if text.startswith("-") and "=" not in text:
            close = difflib.get_close_matches(text, options.option_names(), n=1)
            mend = f"did you mean {close[0]}?" if close else "`headrace COMMAND --help` shows them"
            raise ConfigError(f"{text} is no option of this command; {mend}")


def read_as_written(files: list[str] | None, overrides: list[str] | None) -> Config:
    """Read a configuration whose store and folders are on another machine."""
    refuse_unknown_options(overrides or [])
    setup_logging()
    logging.getLogger().setLevel(logging.ERROR)
    config = agent_config(files or [], overrides or [], os.environ)
    keep_private(only_if=config.store_mode == "private")
    return config


def read_store(files: list[str] | None, overrides: list[str] | None) -> Store:
    """Open the store of a command that only looks; ConfigError where there is none."""
    store = Store.open(read_as_written(files, overrides).store)
    if not store.exists("store.json") and not store.exists("windows"):
        raise ConfigError(
            f"{store.uri} is no store; correct store=, or begin one with `headrace run` or `headrace ingest`"
        )
    return store


def read_run(files: list[str] | None, overrides: list[str] | None) -> Config:
    """Read the configuration of a command that speaks of a run: the one that is named, else the only one of its store.

    ConfigError if the store has several and none is named, or has others than the one that is named.
    """
    config = read_as_written(files, overrides)
    runs = runs_of(Store.open(config.store))
    known = ", ".join(runs[:RUNS_NAMED]) + (", ..." if len(runs) > RUNS_NAMED else "")
    if "name" in config.model_fields_set:
        if runs and config.name not in runs:
            raise ConfigError(f"store {config.store} has no run name={config.name}; it has {known}")
        return config
    if len(runs) > 1:
        raise ConfigError(f"store {config.store} has {len(runs)} runs: {known}; name one, for example name={runs[0]}")
    return config.model_copy(update={"name": runs[0]}) if runs else config
