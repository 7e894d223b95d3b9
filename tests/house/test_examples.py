"""Do the examples in docstrings say what happens?"""

import doctest
import importlib

import pytest

from tests.board.source import PRODUCT, sources

pytestmark = pytest.mark.slow

SHOWN = [source.module for source in sources(*PRODUCT) if ">>> " in source.text]


@pytest.mark.parametrize("module", SHOWN)
def test_what_a_docstring_shows_is_what_happens(module: str) -> None:
    done = doctest.testmod(importlib.import_module(module))
    assert done.attempted and not done.failed
