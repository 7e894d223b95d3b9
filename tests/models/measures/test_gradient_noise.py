"""Is the noise scale the published one, and right where the answer is known?"""

import math

import numpy as np
import pytest

from cluster.rows import Rows
from models.config import ModelConfig
from models.measures.gradient_noise import gradient_noise, noise_scale

MODEL = ModelConfig(layers=1, width=16, heads=2, row_tokens=8)


def test_known_gradients_give_back_their_noise():
    random = np.random.default_rng(3)
    true, sigma, labels = random.normal(size=50), 4.0, 16
    small = [true + random.normal(size=50) * sigma / math.sqrt(labels) for _ in range(4000)]
    squares = [float(g @ g) for g in small]
    whole = np.mean(small, axis=0)
    found = noise_scale(squares, [labels] * len(small), float(whole @ whole))
    assert found.variance == pytest.approx(50 * sigma**2, rel=0.05)
    assert found.gradient_square == pytest.approx(true @ true, rel=0.05)
    assert found.tokens == pytest.approx(50 * sigma**2 / (true @ true), rel=0.1)


def test_equal_batches_have_no_noise_and_one_batch_says_nothing():
    row = np.arange(16, dtype=np.int32).reshape(2, 8) % 7
    rows = Rows(row, (row + 1) % 7, np.zeros((2, 8), np.int32))
    found = gradient_noise(MODEL, 32, 1, None, [rows] * 4)
    assert abs(found.variance) < 1e-4 * found.gradient_square * 16
    with pytest.raises(ValueError, match="1 batch says nothing about noise"):
        gradient_noise(MODEL, 32, 1, None, [rows])


def test_no_gradient_under_the_noise_asks_for_any_batch():
    assert noise_scale([5.0, 5.0], [10, 10], 1.0).tokens == math.inf
