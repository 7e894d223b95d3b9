"""What can be said about a run afterwards, from the store alone: is it exact, what happened, what is happening?"""

from cluster.storage.store import Store
from data_ops.audit.account import Account, account
from data_ops.lake.lake import Lake
from ray_jobs.config.schema import Config
from ray_jobs.outcome import ConfigError


def verify(config: Config) -> Account:
    """Audit the run from the lake alone; ConfigError where there is no lake or no such run."""
    store = Store.open(config.store)
    lake = Lake(store)
    if lake.last_window() < 0 and not store.exists("windows"):
        raise ConfigError(f"store {config.store} holds no lake; run `headrace run` or `headrace ingest` first")
    return account(lake, config.name)
