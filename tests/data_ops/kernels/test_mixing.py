"""Is the finaliser the one that everybody knows, and the only one of the house?"""

import ast

import numpy as np
import pytest

from data_ops.kernels.hashing import mix64_scalar
from data_ops.kernels.mixing import GOLDEN, mix64
from tests.support.root import ROOT

pytestmark = pytest.mark.slow


def test_the_first_values_of_splitmix64_come_out() -> None:
    """The reference implementation's output for the seed 0 (Vigna, splitmix64.c)."""
    states = GOLDEN * np.arange(1, 4, dtype=np.uint64)
    known = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert mix64(states).tolist() == known
    assert [int(mix64_scalar(state)) for state in states] == known


def test_its_constants_stand_in_one_file() -> None:
    homes = set()
    for package in ("cluster", "data_ops", "models", "tune", "ray_jobs"):
        for path in (ROOT / package).rglob("*.py"):
            numbers = {n.value for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Constant)}
            if numbers & {0xBF58476D1CE4E5B9, 0x94D049BB133111EB}:
                homes.add(path.relative_to(ROOT).as_posix())
    assert homes == {"data_ops/kernels/mixing.py"}
