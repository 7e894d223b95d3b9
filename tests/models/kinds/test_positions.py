"""Where does a token stand, and by which angle is it turned?"""

import pytest
import torch

from models.config import ModelConfig
from models.kinds.positions import document_positions, rotations
from models.rope import RopeConfig


def test_positions_restart_at_each_document() -> None:
    segments = torch.tensor([[0, 0, 1, 1, 1, -1], [0, 1, 2, 2, 2, 2]])
    assert document_positions(segments).tolist() == [[0, 1, 0, 1, 2, 0], [0, 0, 0, 1, 2, 3]]


@pytest.mark.parametrize("kind", ["linear", "llama3", "yarn"])
def test_scaling_slows_slow_turns_by_the_factor_and_leaves_fast_ones(kind: str) -> None:
    rope = RopeConfig(kind=kind, factor=4, original_tokens=1024)  # type: ignore[arg-type]
    plain, scaled = ModelConfig(width=128, heads=1), ModelConfig(width=128, heads=1, rope=rope)
    like, one = torch.empty(0), torch.tensor([[1]])
    before, after = (torch.atan2(*reversed(rotations(one, config, like))).flatten() for config in (plain, scaled))
    assert after[63] == pytest.approx(before[63] / 4)
    assert after[0] == pytest.approx(before[0] / (4 if kind == "linear" else 1))


def test_yarn_makes_rotations_longer() -> None:
    rope = RopeConfig(kind="yarn", factor=4, original_tokens=1024)
    cos, sin = rotations(torch.arange(9)[None], ModelConfig(rope=rope), torch.empty(0))
    assert torch.allclose((cos**2 + sin**2).sqrt(), torch.tensor(1.1386294))
