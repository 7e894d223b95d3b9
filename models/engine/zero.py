"""What must DeepSpeed be told, and where does it keep each parameter's float32 state?

Everything that depends on DeepSpeed's inside (0.19) is here: a quiet start that compiles nothing, one
optimizer at every ZeRO stage, and `fragments`: which stretch of which parameter this rank owns, as views on
its float32 master weights and the optimizer's states, found without communication. The checkpoint is built on those
views.
"""

import ctypes
import logging
import math
import os
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from models.config import EngineConfig, OptimConfig
from models.engine.adapters import our_name
from models.engine.steps import Held, Lion, Muon, make_optimizer

if TYPE_CHECKING:
    from deepspeed.runtime.engine import DeepSpeedEngine

MAX_BUCKET = 500_000_000  # elements; DeepSpeed's own default


class Fragment(NamedTuple):
    """A stretch of one parameter that trains and that this rank owns, as flat float32 views."""

    name: str
    shape: tuple[int, ...]
    start: int  # first element, in the flattened parameter
    weight: Tensor
    states: dict[str, Tensor]  # of the optimizer, by their kind

    @property
    def kept(self) -> dict[str, Tensor]:
        """What a checkpoint keeps of it, by its kind."""
        return {"weight": self.weight, **self.states}


class Stretch(NamedTuple):
    """A stretch of one frozen parameter that this rank holds, as a flat view in the precision it computes in."""

    name: str
    shape: tuple[int, ...]
    start: int
    weight: Tensor


def wrap(
    model: nn.Module,
    groups: list[dict[str, Any]],
    optim: OptimConfig,
    *,
    engine: EngineConfig,
    bf16: bool,
    accumulation: int,
    micro_rows: int,
) -> "DeepSpeedEngine":
    """Return the DeepSpeed engine of `model`, the optimizer's states already allocated at zero."""
    deepspeed, stage = import_deepspeed(), engine.zero_stage
    unwrapped = stage == 0 and not bf16  # DeepSpeed then neither guards against NaN nor reports the norm
    optimizer = make_optimizer(groups, optim, bf16=bf16, guarded=unwrapped)
    trained = (parameter for parameter in model.parameters() if parameter.requires_grad)
    bucket = min(MAX_BUCKET, sum(math.prod(whole_shape(parameter)) for parameter in trained))
    config = {
        "train_micro_batch_size_per_gpu": micro_rows,
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": 0.0 if unwrapped else optim.clip_norm,
        "bf16": {"enabled": bf16},
        "data_types": {"grad_accum_dtype": "bf16" if bf16 and stage == 0 else "fp32"},
        "communication_data_type": "fp32",
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # which would be compiled, 53 s, and steps with other roundings
        "zero_optimization": {
            "stage": stage,
            "overlap_comm": torch.cuda.is_available(),
            "reduce_bucket_size": bucket,
            "allgather_bucket_size": bucket,
            **_offloaded(engine),
        },
    }
    made, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config, dist_init_required=False)
    _give_back()
    allocate_states(made)
    if isinstance(optimizer, Muon):
        optimizer.pieces = {flat: pieces for flat, group, pieces in _matrices(made) if group["orthogonal"]}
        optimizer.is_sharded = stage > 0
    return made


def _give_back() -> None:
    """Return to the machine what DeepSpeed freed when it moved shards together: glibc would keep up to a shard."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
    if trim is not None:
        trim(0)


def _offloaded(engine: EngineConfig) -> dict[str, object]:
    where = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    return {} if engine.offload == "none" else {"offload_optimizer": where}


def whole_shape(parameter: nn.Parameter) -> torch.Size:
    """The shape of a parameter, of which this rank may hold a shard."""
    return getattr(parameter, "ds_shape", parameter.shape)


def import_deepspeed() -> ModuleType:
    """Import DeepSpeed silently, without what training never uses.

    That is its shared-memory op (24-31 s of compiling on a fresh machine) and the Muon optimizer's `torch.compile`
    (loads the whole compiler, 3.7 s a worker, although nothing is compiled).
    """
    os.environ.setdefault("DEEPSPEED_LOG_LEVEL", "error")
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed.ops
    import deepspeed.runtime.bf16_optimizer

    compile_function = torch.compile
    torch.compile = _leave_uncompiled  # type: ignore[assignment]
    try:
        import deepspeed.runtime.zero.muon.original_muon
    finally:
        torch.compile = compile_function
    _leave_dynamo_alone()
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.runtime.bf16_optimizer.see_memory_usage = lambda *_, **__: None  # it prints
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")  # DeepSpeed's calls
    return deepspeed


def _leave_dynamo_alone() -> None:
    """Keep torch's optimizers from importing torch._dynamo, 2 s a worker for a compiler that never runs.

    ZeRO-3 imports it all the same.
    """
    optimizer, adam = torch.optim.Optimizer, torch.optim.Adam
    for method in (optimizer.add_param_group, optimizer.zero_grad, optimizer.state_dict, optimizer.load_state_dict):
        if plain := getattr(method, "__wrapped__", None):
            plain.__dynamo_disable = plain
    if plain := getattr(adam.step, "__wrapped__", None):
        adam.step = torch.no_grad()(plain)  # type: ignore[method-assign]


def _leave_uncompiled(function: object = None, **_: object) -> object:
    return function or (lambda inner: inner)


def base_optimizer(engine: "DeepSpeedEngine") -> torch.optim.Optimizer:
    """Return our own optimizer under DeepSpeed's wrapper."""
    return engine.basic_optimizer


def allocate_states(engine: "DeepSpeedEngine") -> None:
    """Set the optimizer's states of every flat tensor this rank owns to zero, at step 0.

    Also undoes the step on zero gradients that DeepSpeed's ZeRO-0 bf16 wrapper takes when it is made: it
    leaves Adam's counter at 1, which shrinks the first updates and is why ZeRO-0 in bf16 strayed from ZeRO
    1-3.
    """
    optimizer = base_optimizer(engine)
    optimizer.state.clear()
    for flat, group in owned_tensors(engine):
        has_momentum = isinstance(optimizer, Lion) or group.get("orthogonal", False)
        step = torch.zeros((), dtype=torch.float32, device=flat.device)
        kinds = ("momentum",) if has_momentum else ("exp_avg", "exp_avg_sq")
        optimizer.state[flat] = {"step": step, **{kind: torch.zeros_like(flat) for kind in kinds}}


def owned_tensors(engine: "DeepSpeedEngine") -> list[tuple[Tensor, dict[str, Any]]]:
    """Return the float32 tensors that the optimizer of this rank updates, each with its group of parameters."""
    groups, wrapper = base_optimizer(engine).param_groups, engine.optimizer
    if engine.zero_optimization_stage() == 3:
        flats = enumerate(wrapper.fp32_partitioned_groups_flat)
        return [(flat, groups[wrapper.sub_group_to_group_id[index]]) for index, flat in flats]
    return [(parameter, group) for group in groups for parameter in group["params"]]


def fragments(engine: "DeepSpeedEngine") -> list[Fragment]:
    """Return what this rank owns of what trains, ordered by name; at ZeRO-0 every rank owns all."""
    state = base_optimizer(engine).state
    found = []
    for name, shape, start, flat, offset, numel in sorted(_places(engine), key=lambda place: place[0]):
        kept = {"weight": flat, **{kind: kept for kind, kept in state[flat].items() if kind != "step"}}
        views = {kind: tensor.detach().view(-1)[offset : offset + numel] for kind, tensor in kept.items()}
        found.append(Fragment(our_name(name), tuple(shape), start, views.pop("weight"), views))
    return found


def _matrices(engine: "DeepSpeedEngine") -> Iterator[tuple[Tensor, dict[str, Any], list[Held]]]:
    """Yield each flat tensor, its group, and its parameters: also those of which this rank owns nothing."""
    stage, wrapper = engine.zero_optimization_stage(), engine.optimizer
    owned = {(name, id(flat)): (start, offset, numel) for name, _, start, flat, offset, numel in _places(engine)}
    names = {id(parameter): name for name, parameter in _trained(engine)}
    for index, (flat, group) in enumerate(owned_tensors(engine)):
        if stage == 0:
            yield flat, group, [Held(tuple(flat.shape), 0, 0, flat.numel())]
            continue
        members = (wrapper.fp16_groups if stage == 3 else wrapper.bit16_groups)[index]
        nothing = 0, 0, 0
        places = [(tuple(whole_shape(p)), owned.get((names[id(p)], id(flat)), nothing)) for p in members]
        yield flat, group, [Held(shape, *place) for shape, place in places]


def frozen(engine: "DeepSpeedEngine") -> list[Stretch]:
    """Return what this rank holds of every frozen parameter: its shard at ZeRO-3, else all of it."""
    found, rank = [], dist.get_rank()
    for name, parameter in engine.module.named_parameters():
        if parameter.requires_grad:
            continue
        flat, start, shape = parameter.detach().view(-1), 0, parameter.shape
        if engine.zero_optimization_stage() == 3:
            flat, shape = parameter.ds_tensor, parameter.ds_shape
            start = rank * flat.ds_numel
            flat = flat.detach().view(-1)[: max(0, parameter.ds_numel - start)]  # the last ranks' shards are padded
        if len(flat):
            found.append(Stretch(our_name(name), tuple(shape), start, flat))
    return found


def _trained(engine: "DeepSpeedEngine") -> Iterator[tuple[str, Any]]:
    return ((name, parameter) for name, parameter in engine.module.named_parameters() if parameter.requires_grad)


def _places(engine: "DeepSpeedEngine") -> Iterator[tuple[str, torch.Size, int, Tensor, int, int]]:
    """Yield (name, shape, start, flat tensor, offset in it, elements) of each owned stretch."""
    stage, wrapper = engine.zero_optimization_stage(), engine.optimizer
    if stage == 0:
        masters = {}
        if hasattr(wrapper, "fp32_groups"):
            pairs = zip(wrapper.fp16_groups, wrapper.fp32_groups, strict=True)
            masters = {id(low): high for lows, highs in pairs for low, high in zip(lows, highs, strict=True)}
        for name, parameter in _trained(engine):
            yield name, parameter.shape, 0, masters.get(id(parameter), parameter), 0, parameter.numel()
        return
    rank = dist.get_rank()
    groups = base_optimizer(engine).param_groups
    for name, parameter in _trained(engine):
        if stage == 3:
            group, offset, numel = wrapper.grad_position[wrapper.get_param_id(parameter)]
            numel_left = max(0, parameter.ds_numel - rank * numel)  # the last ranks' partitions are padded
            if numel_left:
                flat = wrapper.fp32_partitioned_groups_flat[group]
                yield name, parameter.ds_shape, rank * numel, flat, offset, min(numel, numel_left)
        elif parameter._hp_mapping is not None:
            mapping = parameter._hp_mapping
            address = mapping.hp_fragment_address
            flat = groups[mapping.param_group_index]["params"][0]
            yield name, parameter.shape, mapping.lp_fragment_address.start, flat, address.start, address.numel


def set_steps(engine: "DeepSpeedEngine", steps: int) -> None:
    """Set the optimizer's step counter."""
    for flat, _ in owned_tensors(engine):
        base_optimizer(engine).state[flat]["step"].fill_(steps)


def get_steps(engine: "DeepSpeedEngine") -> int:
    """Return the optimizer's step counter: steps taken, skipped ones not counted."""
    return int(base_optimizer(engine).state[owned_tensors(engine)[0][0]]["step"])


@torch.no_grad()
def refresh_weights(engine: "DeepSpeedEngine") -> None:
    """Bring the weights used in the forward pass in line with changed master weights; a collective."""
    stage, wrapper = engine.zero_optimization_stage(), engine.optimizer
    if stage in (1, 2):
        wrapper.update_lp_params()
    elif stage == 3:
        wrapper._partition_all_parameters()
        for sub_group in range(len(wrapper.fp16_groups)):
            wrapper._reassign_or_swap_out_partitioned_parameters(sub_group)
        if wrapper.persistent_parameters:
            wrapper.persistent_parameters[0].all_gather(wrapper.persistent_parameters)
    elif hasattr(wrapper, "fp32_groups"):
        for lows, highs in zip(wrapper.fp16_groups, wrapper.fp32_groups, strict=True):
            torch._foreach_copy_(lows, highs)
