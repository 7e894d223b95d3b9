"""Who may work in a store at the same time?

Runs and ingests work side by side. Forgetting must be alone: it deletes files others may be reading, and texts that
others hold in memory would be trained all the same. Both sides first take their own lease and then look for the
other's, so of two that start in the same moment at most one goes on.
"""

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from cluster.storage.store import Store
from ray_jobs.outcome import ConfigError
from ray_jobs.store.lease import LEASE_SECONDS, Heart, RunIsLiveError, acquire, holder, unreleased
from ray_jobs.store.paths import names_of, run_path

logger = logging.getLogger(__name__)

FORGET = "@forget"  # no run can be called so
INGEST = "@ingest-"
SWEEP = "@sweep"  # behind the name of a run: its sweep
TRIGGER = "@trigger"  # behind the name of a run: who starts it; itself it only looks


@contextmanager
def exclusive(store: Store, wait_seconds: float = LEASE_SECONDS) -> Iterator[None]:
    """Work while no run and no ingest does; ConfigError if one does, after `wait_seconds` if it is elsewhere."""
    try:
        heart = Heart(store, acquire(store, FORGET, wait_seconds))
    except RunIsLiveError:
        raise ConfigError(f"another `headrace forget` is at work in {store.uri}; wait for it") from None
    try:
        for name in names_of(store, "lease"):
            lease = None if name == FORGET or name.endswith(TRIGGER) else holder(store, name, wait_seconds)
            if lease is not None:
                who = "an ingest" if name.startswith(INGEST) else f"run {name}"
                raise ConfigError(
                    f"{who} is at work in {store.uri} (process {lease.pid} on {lease.host.partition(':')[0]}); "
                    "stop it first, then forget, then start it again"
                )
            if name.startswith(INGEST):  # of an ingest that was killed
                store.delete(run_path(name))
        yield
    finally:
        heart.release()


@contextmanager
def shared(store: Store) -> Iterator[str]:
    """Ingest without a run: say so in the store as long as it lasts; ConfigError while something is forgotten.

    Gives the name under which it is at work.
    """
    name = f"{INGEST}{uuid.uuid4().hex[:8]}"
    heart = Heart(store, acquire(store, name))
    try:
        refuse_while_forgetting(store)
        yield name
    finally:
        heart.release()
        store.delete(run_path(name))


def at_work(store: Store, name: str, wait_seconds: float = 0.0) -> bool:
    """Does a run, its sweep or an ingest of this name work? One elsewhere must beat within `wait_seconds`, if given."""
    return any(holder(store, lease, wait_seconds) is not None for lease in (name, f"{name}{SWEEP}"))


def refuse_while_forgetting(store: Store, wait_seconds: float = LEASE_SECONDS) -> None:
    """Ask after taking a lease of one's own; ConfigError while documents are being forgotten.

    A forget whose machine is gone holds up nobody for ever: its claim is taken over, after a last wait for its heart.
    """
    lease = unreleased(store, FORGET)
    if lease is None:
        return
    where = f"process {lease.pid} on {lease.host.partition(':')[0]}"
    if holder(store, FORGET) is None:
        if not lease.is_local:
            logger.warning("a forget (%s) is silent; it is waited for %.0f s, then taken over", where, wait_seconds)
        try:
            Heart(store, acquire(store, FORGET, wait_seconds)).release()
        except RunIsLiveError:
            pass
        else:
            return
    raise ConfigError(f"documents are being forgotten in {store.uri} ({where}); start again when that is done")
