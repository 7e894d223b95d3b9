"""A library that takes seconds to import, for the tests that use it and not for every process that collects them."""

import importlib
import importlib.util
from typing import Any

import pytest


class Late:
    """A module that is imported at its first use."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):
            raise AttributeError(attribute)  # pytest asks whatever a file of tests holds whether it is a fixture
        return getattr(importlib.import_module(self._name), attribute)


def late(name: str) -> Any:
    """Return the module, not yet imported; skips the file of tests where it is not installed."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed", allow_module_level=True)
    return Late(name)
