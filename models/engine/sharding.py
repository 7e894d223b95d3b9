"""How does a model come to be at ZeRO-3 without any rank ever holding a parameter whole?

DeepSpeed shares out parameters that are there, so each is whole for a moment on every rank, is sent by the first one to
all others, and leaves holes in the heap: a token table can be half of a rank's shard. Here a module is built of
parameters that have a shape and no memory. Then each gets this rank's shard as DeepSpeed lays it out, undrawn; a
checkpoint's ranges are read straight into the shards.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from models.device import device
from models.engine.zero import import_deepspeed


@contextmanager
def without_memory() -> Iterator[None]:
    """While inside, parameters that modules are given keep their shape alone. Buffers are as always."""

    def shape_alone(_: nn.Module, __: str, param: nn.Parameter) -> nn.Parameter | None:
        if param is None or param.is_meta:  # one without memory stays itself, so that tied ones stay tied
            return None
        return nn.Parameter(param.detach().to("meta"), requires_grad=param.requires_grad)

    returns: Any = shape_alone  # torch takes what it returns, though its types do not say so
    hook = register_module_parameter_registration_hook(returns)
    try:
        yield
    finally:
        hook.remove()


def share_out(model: nn.Module, bf16: bool) -> None:
    """Give a module that was built without memory this rank's shard of each parameter."""
    dtype = torch.bfloat16 if bf16 else torch.float32
    sharing = import_deepspeed().zero.Init(dtype=dtype, remote_device=device().type)
    sharing._enable_mem_efficient_linear()  # as where DeepSpeed shares a module out
    shared = dict[int, nn.Parameter]()  # tied parameters are one
    for module in model.modules():
        for name, shape in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            if id(shape) not in shared:
                shared[id(shape)] = _shard(shape, sharing, dtype)
            module._parameters[name] = shared[id(shape)]


def _shard(shape: nn.Parameter, sharing: Any, dtype: torch.dtype) -> nn.Parameter:
    """Return a parameter of DeepSpeed's whose shard is here, and whose whole never was.

    What DeepSpeed does with one number that stands for all; then what its `_partition_param` would leave.
    """
    theirs = import_deepspeed().runtime.zero.partition_parameters
    one = torch.empty(1, dtype=dtype, device=device())
    made: Any = nn.Parameter(one.expand(shape.shape), requires_grad=shape.requires_grad)
    sharing._convert_to_deepspeed_param(made)
    made.ds_numel_aligned = sharing._aligned_size(made)
    size = made.ds_numel_aligned // dist.get_world_size()
    made.ds_tensor = torch.empty(size, dtype=dtype, device=device())
    made.ds_tensor[max(0, made.ds_numel - dist.get_rank() * size) :].zero_()  # behind the parameter's end
    made.ds_tensor.ds_numel, made.ds_tensor.final_location = size, None
    made.ds_tensor.status = theirs.PartitionedParamStatus.AVAILABLE
    theirs.free_param(made)
    return made
