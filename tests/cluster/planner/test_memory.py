"""Is what the planner counts in memory what the model really keeps?"""

import pytest
import torch

from cluster.planner.formulas import LAYER_BYTES, LOGIT_CHUNK_BYTES, activation_bytes
from cluster.planner.memory import BUCKET, MOST_GPUS, Case, buffer_bytes, holds, memory_gb, what_would_fit
from cluster.planner.plan import PlanConfig
from models.config import ModelConfig
from models.engine import zero
from models.kinds.loss import GPU_LOGIT_BYTES
from models.kinds.transformer import Transformer

ROWS, LENGTH, VOCABULARY = 2, 256, 256


def kept_bytes(layers: int, width: int, recompute: bool) -> int:
    """Bytes that a forward pass of our model keeps for its backward pass, weights left out, in bf16."""
    config = ModelConfig(layers=layers, width=width, heads=4, row_tokens=LENGTH, recompute=recompute)
    model = Transformer(config, VOCABULARY).to(torch.bfloat16)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    tokens = torch.zeros((ROWS, LENGTH), dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(tokens, None, tokens)
    return sum(tensor.untyped_storage().nbytes() for at, tensor in kept.items() if at not in weights)


def a_layer(width: int, recompute: bool) -> float:
    more, less = (kept_bytes(layers, width, recompute) for layers in (6, 2))
    return (more - less) / 4 / (ROWS * LENGTH * width)


@pytest.mark.slow
def test_a_layer_keeps_the_bytes_that_the_plan_counts():
    on_a_cpu = 12 + 16 / 3  # which writes down float32 copies in RMSNorm, and silu(gate)
    assert a_layer(384, recompute=False) == pytest.approx(LAYER_BYTES + on_a_cpu, rel=0.02)


@pytest.mark.slow
def test_a_recomputed_layer_keeps_its_input_only():
    assert a_layer(384, recompute=True) == pytest.approx(2, rel=0.02)


def test_logits_cost_a_chunk_at_most():
    assert LOGIT_CHUNK_BYTES == GPU_LOGIT_BYTES
    few, many = (activation_bytes(tokens, 1, 64, 128_000, False) for tokens in (100, 10**6))
    assert few == 100 * (64 * LAYER_BYTES + 4 * 128_000)
    assert many == 10**6 * 64 * LAYER_BYTES + LOGIT_CHUNK_BYTES


def test_buckets_are_as_large_as_deepspeed_is_told():
    assert BUCKET == zero.MAX_BUCKET
    assert buffer_bytes(1e6, 8, 0) == 8e6
    assert buffer_bytes(1e10, 8, 0) == 8 * BUCKET


def test_gradients_in_float32_are_counted_and_sharded_from_zero_2_on():
    alone, sharded = buffer_bytes(1e10, 8, 1) - 8 * BUCKET, buffer_bytes(1e10, 8, 2) - 8 * BUCKET
    assert (alone, sharded) == (2e10, 2e10 / 8)


def test_what_would_fit_does_fit():
    for more in ({"row_tokens": 10**6}, {"parameters": 2 * 10**12, "recompute": False}, {"micro_batch_rows": 512}):
        config = PlanConfig(gpu="A100-40", **more)
        assert not holds(Case(config, "A100-40", MOST_GPUS))
        said = what_would_fit(config, "A100-40").partition(": use ")[2]
        mends = said.split(" or ")
        assert mends and "smaller" not in said
        for mend in mends:
            keys = dict(word.removeprefix("plan.").split("=") for word in mend.split())
            changed = PlanConfig.model_validate({**config.model_dump(exclude_unset=True), **keys})
            assert holds(Case(changed, changed.gpu or "A100-40", MOST_GPUS)), mend


def test_longer_rows_do_not_fit_where_the_plan_says_the_longest():
    config = PlanConfig(row_tokens=10**6, gpu="H100", recompute=True)
    longest = int(what_would_fit(config, "H100").partition("plan.row_tokens=")[2].split()[0])
    twice = config.model_copy(update={"row_tokens": 2 * longest})
    assert not holds(Case(twice, "H100", MOST_GPUS))


def test_a_model_that_nothing_holds_is_too_large():
    assert what_would_fit(PlanConfig(parameters=10**18), "B200").endswith("use a smaller model")


def test_a_micro_batch_is_no_larger_than_the_share_of_a_step():
    case = Case(PlanConfig(parameters="162M", batch_tokens=2048 * 32), "H100", 8)
    assert memory_gb(case, 1)["micro_batch_rows"] == 4 == case.share_rows
