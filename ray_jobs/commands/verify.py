"""What can be said about a run afterwards, from the store alone: is it exact, what happened, what is happening?"""

from cluster.storage.store import Store
from data_ops.audit.account import Account, account
from data_ops.lake.lake import Lake
from ray_jobs.config.schema import Config
from ray_jobs.outcome import ConfigError

RUNS_NAMED = 8


def verify(config: Config) -> Account:
    """Audit the run from the lake alone; ConfigError where there is no lake or no such run."""
    store = Store.open(config.store)
    lake = Lake(store)
    if lake.last_window() < 0 and not store.exists("windows"):
        raise ConfigError(f"store {config.store} holds no lake; run `headrace run` or `headrace ingest` first")
    runs = {path.split("/")[1] for path in store.list("runs") if "@" not in path.split("/")[1]}
    if runs and config.name not in runs and not lake.num_rounds(config.name):
        known = ", ".join(sorted(runs)[:RUNS_NAMED]) + (", ..." if len(runs) > RUNS_NAMED else "")
        raise ConfigError(f"store {config.store} has no run name={config.name}; it has {known}")
    return account(lake, config.name)
