"""Which checkpoint is in service?"""

import json
from typing import Any

import msgspec

from cluster.storage.store import Store
from ray_jobs.store.paths import CHAMPION


class DriftReference(msgspec.Struct, frozen=True):
    """Which figures keep small losses from adding up over champions, and how often they were asked about.

    asks, by source: reservations that named its present figures before this champion came; promotions: since then.
    """

    figures: str  # path in the store
    asks: dict[str, int] = {}
    promotions: dict[str, int] = {}


def read_champion(store: Store) -> dict[str, Any] | None:
    """Read the champion pointer, None before the first promotion."""
    try:
        champion: dict[str, Any] = json.loads(store.read(CHAMPION))
    except FileNotFoundError:
        return None
    return champion


def is_champion(store: Store, name: str) -> bool:
    """Is this checkpoint in service?"""
    champion = read_champion(store)
    return champion is not None and champion["checkpoint"] == name
