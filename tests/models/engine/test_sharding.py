"""Does a model that is built of shards compute what a whole one does, and is no parameter ever whole?"""

from pathlib import Path

import pytest
import torch
from torch import nn

from models.config import EngineConfig, OptimConfig
from models.engine.checkpoint import restore_engine, snapshot
from models.engine.engine import join, start
from models.engine.sharding import share_out, without_memory
from models.engine.zero import import_deepspeed
from models.kinds.building import build
from tests.models.engine.test_engine import BATCH_ROWS, MODEL, VOCAB, make, spawn

pytestmark = pytest.mark.slow


def test_parameters_without_memory_keep_their_shapes_their_ties_and_what_trains() -> None:
    whole = build(MODEL, VOCAB, seed=0)
    with without_memory():
        module = build(MODEL, VOCAB, seed=None)
        frozen = nn.Linear(3, 5).requires_grad_(False)
    shapes = {name: parameter.shape for name, parameter in whole.named_parameters()}
    assert {name: parameter.shape for name, parameter in module.named_parameters()} == shapes
    assert all(parameter.is_meta for parameter in module.parameters())
    assert module.embed.weight is module.head.weight
    assert not frozen.weight.requires_grad
    assert not nn.Linear(3, 5).weight.is_meta, "outside, parameters are as always"


OF_PARAMETER = ("ds_shape", "ds_numel", "ds_numel_aligned", "ds_status", "ds_persist", "requires_grad", "shape")
OF_SHARD = ("ds_numel", "shape", "dtype", "device", "status", "final_location", "requires_grad")


def laid_out(module: nn.Module) -> list[list[object]]:
    """What DeepSpeed knows of every parameter."""
    return [
        [name, *(getattr(p, key) for key in OF_PARAMETER), *(getattr(p.ds_tensor, key) for key in OF_SHARD)]
        for name, p in module.named_parameters()
    ]


def share_both_ways(rank: int, world_size: int) -> None:
    """Compare our shards with those of DeepSpeed, also where a parameter does not divide by the ranks."""
    for bf16, dtype in ((False, torch.float32), (True, torch.bfloat16)):
        theirs = nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 1).requires_grad_(False)).to(dtype)
        import_deepspeed().zero.Init(module=theirs, dtype=dtype, remote_device="cpu")
        with without_memory():
            ours = nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 1).requires_grad_(False))
        share_out(ours, bf16)
        assert laid_out(ours) == laid_out(theirs)
        last = ours[0].bias.ds_tensor  # 3 numbers over 2 ranks
        assert rank == 0 or last[1] == 0


def test_shards_lie_as_deepspeed_lays_them(tmp_path: Path) -> None:
    spawn(2, share_both_ways, tmp_path, 2)


def test_a_model_that_is_loaded_into_shards_computes_in_the_precision_it_is_asked_for(tmp_path: Path) -> None:
    """DeepSpeed's own way makes float32 parameters bfloat16 on a CPU that has no float16."""
    join(threads=1)
    trained = make(stage=1, precision="fp32")
    snapshot(trained).write(tmp_path / "0.safetensors")
    expected = trained.probe()
    trained.close()
    engine = EngineConfig(
        zero_stage=3, precision="fp32", batch_tokens=BATCH_ROWS * MODEL.row_tokens, micro_batch_rows=2
    )
    loaded = start(MODEL, VOCAB, engine, OptimConfig(), seed=None)
    restore_engine(loaded, [tmp_path / "0.safetensors"])
    assert {p.ds_tensor.dtype for p in loaded.module.parameters()} == {torch.float32}
    assert loaded.probe() == pytest.approx(expected, rel=1e-7)
    loaded.close()
