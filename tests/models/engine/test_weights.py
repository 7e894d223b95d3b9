"""Are weights of others the same as files of a checkpoint, and those the same as weights?"""

from pathlib import Path

import pytest
import torch

from models.engine.checkpoint import CheckpointReader, weights_sha256
from models.engine.weights import StoredWeights, initial_snapshot, measure_weights

WEIGHTS = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor([1.5, -2.25]).bfloat16()}


def test_weights_come_back_out_of_the_file_in_float32(tmp_path: Path) -> None:
    weighed = measure_weights(WEIGHTS)
    initial_snapshot(WEIGHTS, weighed.shapes).write(tmp_path / "part")
    stored = StoredWeights([tmp_path / "part"])
    assert stored.keys() == WEIGHTS.keys()
    assert all(torch.equal(stored[name], weight.float()) for name, weight in WEIGHTS.items())
    assert weights_sha256([tmp_path / "part"]) == weighed.sha256
    assert weighed.shapes == {"a": (2,), "b": (2, 3)}


def test_any_stretch_of_half_precision_is_read_alone(tmp_path: Path) -> None:
    long = {"a": torch.randn(40_000).bfloat16()}
    initial_snapshot(long, measure_weights(long).shapes).write(tmp_path / "part")
    into = torch.empty(101)
    CheckpointReader([tmp_path / "part"]).read("a", "weight", 33_333, into)
    assert torch.equal(into, long["a"][33_333:33_434].float())
    with pytest.raises(ValueError, match=r"a\|weight has 1 of 2 elements from 39999"):
        CheckpointReader([tmp_path / "part"]).read("a", "weight", 39_999, torch.empty(2))


def test_the_hash_does_not_depend_on_order_or_precision() -> None:
    assert measure_weights(WEIGHTS).sha256 == measure_weights(dict(reversed(WEIGHTS.items()))).sha256
    assert (
        measure_weights(WEIGHTS).sha256
        == measure_weights({name: weight.float() for name, weight in WEIGHTS.items()}).sha256
    )
    assert measure_weights(WEIGHTS).sha256 != measure_weights(WEIGHTS | {"b": torch.zeros(2, 3)}).sha256
