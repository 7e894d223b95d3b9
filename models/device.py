"""What does this process compute on, and what is done there that a CPU does not need?

On a GPU each small operation reads and writes memory, which costs more time than its arithmetic: chains of them are
compiled into one kernel, and rows are copied there from pinned memory while it computes. On a CPU they run as written,
for compiling takes longer than it saves.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from cluster.rows import Rows

MOST_SHAPES = 64  # kernels of one function; the next shape would run as written, with other bits
Function = TypeVar("Function", bound=Callable[..., object])


def device() -> torch.device:
    """Return the device this process computes on."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def compute_the_same_again() -> None:
    """Let a GPU add in the same order each time, so that a run resumes to the bit.

    Left alone it does not for the gradient of attention. https://docs.pytorch.org/docs/stable/notes/randomness.html
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nobody reads it


def compiled(function: Function) -> Function:
    """Compile a function of tensors for each shape it is trained with, where there is a GPU, at its first call.

    `compute_the_same_again` also keeps the compiler from choosing sums by timing, which would change bits.
    """
    if not torch.cuda.is_available():
        return function
    return torch.compile(function, dynamic=False, recompile_limit=MOST_SHAPES)  # type: ignore[call-overload]


def uncompiled() -> AbstractContextManager[object]:
    """Run what is `compiled` as it is written: for shapes that vary, each of which would be compiled anew."""
    return torch.compiler.set_stance("force_eager") if torch.cuda.is_available() else nullcontext()


class MicroBatch(NamedTuple):
    """Some rows as tensors [B, L]: inputs and labels on the device, segments on the host."""

    inputs: Tensor
    labels: Tensor
    segments: Tensor


def micro_batches(rows: Rows, size: int) -> Iterator[MicroBatch]:
    """Yield `size` rows at a time."""
    for start in range(0, len(rows.inputs), size):
        inputs, labels, segments = (torch.from_numpy(np.array(field[start : start + size])) for field in rows)
        yield MicroBatch(moved(inputs, device()), moved(labels, device()), segments)


def moved(tensor: Tensor, onto: torch.device) -> Tensor:
    """Copy a tensor of the host to a device, without waiting for what the device is doing."""
    return tensor.pin_memory().to(onto, non_blocking=True) if onto.type == "cuda" else tensor.to(onto)
