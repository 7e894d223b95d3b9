"""No test starts Ray by accident, and none fails for being slow on a busy machine."""

import gc
import os

import pytest
from hypothesis import settings

os.environ.setdefault(
    "RAY_ENABLE_AUTO_CONNECT", "0"
)  # only `cluster.runtime.session.connect` starts it, in other processes
settings.register_profile("headrace", deadline=None)
settings.load_profile("headrace")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that at the end both cores have something to do."""
    items.sort(key=lambda item: item.get_closest_marker("ray") is None)


def pytest_collection_finish() -> None:
    """Whatever was imported and collected stays to the end: the collector need not walk it again and again."""
    gc.collect()
    gc.freeze()
