"""Which part of a model trains, where not all of it does? Said of its parameters, without building one.

Two small matrices beside some large ones (LoRA: Hu et al. 2021), or all but frozen layers. What does not train never
changes: it is kept once, where the run took it in, and no checkpoint holds it again.
"""

import math
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import NamedTuple

from models.config import ModelConfig
from models.kinds.shapes import Extent
from models.lora import LoraConfig

MATRICES = ("lora_A", "lora_B")  # [rank, in] and [out, rank], whose product is added to a frozen [out, in]


class Role(StrEnum):
    """What a parameter is used for."""

    MATRIX = "matrix"  # of a layer: multiplied with, so that an adapter may stand beside it
    LOOKUP = "lookup"  # read by row, never multiplied with
    OTHER = "other"  # output table, norms, biases


class Parameter(NamedTuple):
    """A parameter: its shape, its name in transformers, and what it is used for."""

    shape: Extent
    theirs: str
    role: Role = Role.OTHER
    transposed: bool = False  # kept as [in, out], as GPT-2 keeps its matrices


class TrainedPart(NamedTuple):
    """Numbers of a model of which not all trains."""

    trained: int
    frozen: int  # in matrices that are multiplied with and take no gradient
    added: int = 0  # of those that train: in adapters


def trained_part(config: ModelConfig, parameters: Mapping[str, Parameter]) -> TrainedPart:
    """Count; ValueError, in one sentence, where lora or freeze names nothing, or everything is frozen."""
    if config.lora is not None:
        added = sum(map(math.prod, adapter_shapes(config.lora, parameters).values()))
        return TrainedPart(added, _multiplied(parameters.values()), added)
    freeze = config.freeze or ()
    if not isinstance(freeze, int) and (pattern := unmatched(freeze, parameters)) is not None:
        near = ", ".join(sorted({re.sub(r"\.\d+\.", ".*.", name) for name in parameters}))
        raise ValueError(f"model.freeze has {pattern!r}, which names no parameter; use some of {near}")
    frozen = [found for name, found in parameters.items() if freezes(freeze, name)]
    total, still = (sum(math.prod(found.shape) for found in some) for some in (parameters.values(), frozen))
    if not still or still == total:
        what = "freezes nothing of" if not still else "leaves nothing to train of"
        raise ValueError(f"model.freeze={freeze} {what} this model; freeze some of its layers, or leave it out")
    return TrainedPart(total - still, _multiplied(frozen))


def _multiplied(parameters: Iterable[Parameter]) -> int:
    matrices = (found for found in parameters if len(found.shape) > 1 and found.role != Role.LOOKUP)
    return sum(math.prod(found.shape) for found in matrices)


def targets_of(config: LoraConfig, parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """Choose the matrices that adapters stand beside, by our names; ValueError for a target that names none.

    A target is a name's end (`q_proj`, `self_attn.q_proj`) or a pattern of a whole name, ours or that of transformers.
    """
    matrices = {name: found for name, found in parameters.items() if found.role == Role.MATRIX}
    if config.targets is None:
        chosen = set(matrices)
        if not chosen:
            raise ValueError(f"model.lora of rank={config.rank} finds no matrices in this kind of model; leave it out")
    else:
        chosen = set[str]()
        for target in config.targets:
            matched = {name for name, found in matrices.items() if _names(target, (name, found.theirs))}
            if not matched:
                ends = sorted({module_of(found.theirs).rpartition(".")[2] for found in matrices.values()})
                raise ValueError(
                    f"model.lora.targets has {target!r}, which names no matrix of this model; use some of "
                    f"{', '.join(ends) or 'none'}, or leave targets out"
                )
            chosen |= matched
    return {name: found for name, found in matrices.items() if name in chosen}


def freezes(freeze: int | tuple[str, ...], name: str) -> bool:
    """Say whether a parameter is frozen: those of the first layers, or those that a pattern names.

    >>> freezes(2, "layers.1.q.weight"), freezes(2, "layers.2.q.weight"), freezes(("embed.*",), "embed.weight")
    (True, False, True)
    """
    if isinstance(freeze, int):
        layer = next((part for part in name.split(".") if part.isdigit()), None)
        return layer is not None and int(layer) < freeze
    return any(_names(pattern, (name,)) for pattern in freeze)


def unmatched(freeze: tuple[str, ...], names: Iterable[str]) -> str | None:
    """Return the first pattern that names no parameter."""
    known = list(names)
    return next((pattern for pattern in freeze if not any(_names(pattern, (name,)) for name in known)), None)


def module_of(name: str) -> str:
    """Name the module that a parameter belongs to.

    >>> module_of("layers.0.q.weight")
    'layers.0.q'
    """
    return name.rpartition(".")[0]


def adapter_shapes(config: LoraConfig, parameters: Mapping[str, Parameter]) -> dict[str, tuple[int, int]]:
    """Return the shape of every small matrix by its name."""
    shapes: dict[str, tuple[int, int]] = {}
    for name, found in targets_of(config, parameters).items():
        rows, columns = found.shape[::-1] if found.transposed else found.shape
        first, second = (f"{module_of(name)}.{which}.weight" for which in MATRICES)
        shapes |= {first: (config.rank, columns), second: (rows, config.rank)}
    return shapes


def _names(pattern: str, names: Iterable[str]) -> bool:
    """Does a pattern name one of these, wholly, or the module of one by its end?"""
    for name in names:
        module = module_of(name)
        if fnmatchcase(name, pattern) or fnmatchcase(module, pattern) or f".{module}".endswith(f".{pattern}"):
            return True
    return False
