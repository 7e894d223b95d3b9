"""Which checkpoint is in service?

The pointer decides what a candidate is judged against and what retention keeps, so one that cannot be trusted is never
taken for none: reading it raises DamagedError, which says how it is mended.
"""

from typing import Annotated

import msgspec

from cluster.storage.seal import DamagedError
from cluster.storage.state import read_json
from cluster.storage.store import Store
from ray_jobs.store.paths import CHAMPION, by_hand_path, decision_path

MEND = "put a checkpoint in service anew: delete that file, then headrace promote --to RUN/STEP"
Name = Annotated[str, msgspec.Meta(pattern=r"^[^/]+/[0-9]+$")]  # run/step


class DriftReference(msgspec.Struct, frozen=True):
    """Which figures keep small losses from adding up over champions, and how often they were asked about.

    asks, by source: reservations that named its present figures before this champion came; promotions: since then.
    """

    figures: str  # path in the store
    asks: dict[str, int] = {}
    promotions: dict[str, int] = {}


class InService(msgspec.Struct, frozen=True, kw_only=True):
    """The champion pointer: the checkpoint in service, since when, what was before it, and what it was made of."""

    checkpoint: Name
    decided: float = 0.0
    previous: Name | None = None
    by_hand: bool = False
    reason: str | None = None  # of a rollback that nobody asked for by hand
    weights_sha256: str | None = None
    sample_fingerprint: str | None = None
    last_window: int | None = None
    tokenizer: str | None = None
    ask: str | None = None  # path of the reservation whose verdict put it here
    reference: DriftReference | None = None


def read_champion(store: Store) -> InService | None:
    """Read the champion pointer, None before the first promotion; DamagedError where it cannot be trusted."""
    try:
        return read_json(store, CHAMPION, InService, MEND)
    except FileNotFoundError:
        return None


def may_be_champion(store: Store, name: str) -> bool:
    """Is it in service, or, where the pointer cannot be trusted, was it ever judged, or put there by hand?"""
    try:
        champion = read_champion(store)
    except DamagedError:
        return store.exists(decision_path(name)) or store.exists(by_hand_path(name))
    return champion is not None and champion.checkpoint == name


def was_champion_before(store: Store, name: str) -> bool:
    """Was it in service before the one that is now? A way back stays open."""
    try:
        champion = read_champion(store)
    except DamagedError:
        return False  # `may_be_champion` has answered
    return champion is not None and champion.previous == name
