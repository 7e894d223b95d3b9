"""Which checkpoint does a user mean: by name, by a word, or by none?"""

from cluster.storage.store import Store
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.config.schema import Config
from ray_jobs.origin.record import read_origin
from ray_jobs.outcome import ConfigError
from ray_jobs.registry.champion import champion_name
from ray_jobs.store.paths import runs_of


def exported_checkpoint(config: Config, name: str | None) -> tuple[Store, commits.Commit]:
    """The checkpoint that is to leave or to speak: by name, or the champion, or the newest of the run."""
    return chosen_checkpoint(config, name or champion_name(Store.open(config.store)))


def chosen_checkpoint(config: Config, name: str | None) -> tuple[Store, commits.Commit]:
    """The checkpoint that is meant: by name, or the newest of the run."""
    store = Store.open(config.store)
    name = _meant(store, config, name)
    if name is None:
        found = commits.newest_readable(store, config.name)
        if found is None:
            raise ConfigError(f"run {config.name} in {config.store} has no checkpoint yet; train it first")
        return store, found
    try:
        return store, commits.by_name(store, name)
    except (FileNotFoundError, ValueError) as error:
        run = name.partition("/")[0] if name.partition("/")[0] in runs_of(store) else config.name
        kept = ", ".join(f"{run}/{step}" for step in commits.commits(store, run)) or "none"
        raise ConfigError(f"checkpoint {name} is not in {config.store}; of run {run} there are {kept}") from error


def _meant(store: Store, config: Config, name: str | None) -> str | None:
    """Turn the words `champion` and `base` into the checkpoint that they mean."""
    if name == "champion":
        if (champion := champion_name(store)) is None:
            raise ConfigError(f"{config.store} has no champion yet; promote a checkpoint, or name one: RUN/STEP")
        return champion
    if name == "base":
        if (origin := read_origin(store, config.name)) is None:
            raise ConfigError(
                f"run {config.name} in {config.store} began with random weights; name a checkpoint: RUN/STEP"
            )
        return origin.checkpoint
    return name
