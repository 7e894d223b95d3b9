"""Does DeepSpeed keep what it is asked to keep?"""

import pytest
import torch

from models.engine import zero
from models.engine.engine import join


@pytest.mark.parametrize(("bf16", "kept"), [(False, torch.float32), (True, torch.bfloat16)])
def test_a_parameter_that_is_shared_out_when_it_is_made_has_the_precision_asked_for(
    bf16: bool, kept: torch.dtype
) -> None:
    join(1)
    with zero.sharded(bf16):
        made = torch.nn.Linear(4, 4)
    assert made.weight.ds_tensor.dtype == kept  # type: ignore[attr-defined]
