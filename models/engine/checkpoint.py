"""How is a model in training kept, so that any number of workers at any ZeRO stage can go on with it?

Each rank writes one safetensors file: the stretches of float32 master weights and optimizer states that it owns,
each under `parameter|kind` with its start in the metadata. A reader at another world size or stage takes
from every file the slices that overlap its own stretches: no conversion, no gathering, no pickle, each byte
read once. `snapshot` stalls training for one copy to host memory; `Snapshot.write` then runs beside the next
steps. The price: every rank reads the header of every file (some kB); of the data only what it owns (`ranges_needed`).
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import xxhash
from torch import Tensor

from models.engine import zero
from models.engine.adapters import is_adapter
from models.engine.engine import Engine, begin_adapter
from models.engine.parts import CHUNKS, LocalPart, Part, Range, digests_of, read_contents

FORMAT = "headrace-1"
KINDS = ("weight", "exp_avg", "exp_avg_sq", "momentum")  # that there may be: AdamW has two moments, Lion and Muon one
HOLDS = "holds"  # key of the metadata of a file that holds one kind alone: weights that a run begins with
PIECE_BYTES = 1 << 24  # of a stretch that are held beside it while it is converted, or on its way to a device
AVERAGE = "average"  # a further kind, where a running average of the weights is kept


class Written(NamedTuple):
    """What one rank's file holds, for the manifest."""

    size_bytes: int
    sha256: str
    header: str  # xxh3-128 of its first bytes, which hold digests of the others: see parts.py


@dataclass
class Snapshot:
    """One rank's part of the training state, in host memory; or weights that are read where they are asked for."""

    tensors: Mapping[str, Tensor]  # "parameter|kind" -> flat float32, or bfloat16
    metadata: dict[str, str]

    def write(self, path: Path) -> Written:
        """Write the file and flush it to disk; a background thread may do it (the GIL is released).

        The safetensors layout is written here, not by the library: from the buffers, hashed on the way.
        """
        header = dict[str, object]()
        chunks = digests_of(self._buffers(header))
        header["__metadata__"] = self.metadata | {CHUNKS: chunks}
        encoded = json.dumps(header, separators=(",", ":")).encode()
        encoded += b" " * (-len(encoded) % 8)
        encoded = len(encoded).to_bytes(8, "little") + encoded
        digest = hashlib.sha256()
        size_bytes = 0
        with path.open("wb") as file:
            for part in chain([memoryview(encoded)], self._buffers({})):
                digest.update(part)
                size_bytes += file.write(part)
            file.flush()
            os.fsync(file.fileno())
        return Written(size_bytes, digest.hexdigest(), xxhash.xxh3_128_hexdigest(encoded))

    def _buffers(self, header: dict[str, object]) -> Iterator[memoryview]:
        """Yield the bytes of each tensor, in the order in which they are written, and enter it into a header."""
        end = 0
        for key, tensor in self.tensors.items():
            start, end = end, end + tensor.nbytes
            dtype = "BF16" if tensor.dtype == torch.bfloat16 else "F32"
            header[key] = {"dtype": dtype, "shape": [tensor.numel()], "data_offsets": [start, end]}
            yield memoryview(_bytes(tensor)).cast("B")


def snapshot(engine: Engine, into: Snapshot | None = None, average: Sequence[Tensor] = ()) -> Snapshot:
    """Copy this rank's state to host memory; milliseconds. Every rank gets one, empty where it owns nothing.

    `into`: an earlier snapshot of this engine, written and no longer needed, whose buffers are used again; `average`:
    of each fragment, if one is kept.
    """
    owned = zero.fragments(engine.deepspeed)
    if engine.deepspeed.zero_optimization_stage() == 0 and dist.get_rank() != 0:
        owned = []  # replicated: rank 0 keeps it
    sources = {f"{part.name}|{kind}": tensor for part in owned for kind, tensor in part.kept.items()}
    sources |= {f"{part.name}|{AVERAGE}": mean for part, mean in zip(owned, average, strict=False)}
    if into is None or into.tensors.keys() != sources.keys():
        into = Snapshot(_host_buffers(sources), {})
    if sources:
        torch._foreach_copy_(list(into.tensors.values()), list(sources.values()), non_blocking=True)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    into.metadata = metadata(engine, owned)
    return into


def metadata(engine: Engine, owned: Sequence[zero.Fragment]) -> dict[str, str]:
    """Say in a file's header what it holds: these stretches, of this rank, at this step."""
    return {
        "format": FORMAT,
        "rank": str(dist.get_rank()),
        "world_size": str(dist.get_world_size()),
        "steps": str(zero.get_steps(engine.deepspeed)),
        "starts": json.dumps({part.name: part.start for part in owned}),
        "shapes": json.dumps({part.name: part.shape for part in owned}),
    }


def read_owned(owned: Sequence[zero.Fragment], into: Sequence[Tensor], paths: Sequence[Path | Part]) -> bool:
    """Fill `into` with the averages of these stretches, or, from files that hold nothing else, weights.

    False where the files are a checkpoint without an average; nothing is filled then.
    """
    with CheckpointReader(paths) as stored:
        kinds = {key.rpartition("|")[2] for contents in stored.contents for key in contents.places}
        if kinds != {"weight"} and AVERAGE not in kinds:
            return False
        for part, tensor in zip(owned, into, strict=True):
            stored.read(part.name, AVERAGE if AVERAGE in kinds else "weight", part.start, tensor)
    return True


def ranges_needed(
    owned: Iterable[tuple[str, int, int]], parts: Sequence[Part], kinds: Sequence[str] = KINDS
) -> list[list[Range]]:
    """Say which bytes of each file `restore` will read for stretches (parameter, first element, elements)."""
    stored, found = CheckpointReader(parts), [list[Range]() for _ in parts]
    for name, start, count in owned:
        for kind in kinds:
            for index, first, _, bytes_of_it in stored.stretches(name, kind, start, count):
                found[index].append((first, first + bytes_of_it))
    return found


def owned_stretches(engine: Engine) -> list[tuple[str, int, int]]:
    """Name what this rank owns of what trains: parameter, first element, elements."""
    return [(part.name, part.start, part.weight.numel()) for part in zero.fragments(engine.deepspeed)]


def frozen_stretches(engine: Engine) -> list[tuple[str, int, int]]:
    """Name what this rank holds of what does not train: parameter, first element, elements."""
    return [(part.name, part.start, part.weight.numel()) for part in zero.frozen(engine.deepspeed)]


def restore_engine(engine: Engine, paths: Sequence[Path | Part], seed: int = 0) -> None:
    """Put a checkpoint's weights, moments and steps into `engine`, whatever its world size and ZeRO stage.

    Weights that a run begins with have no moments; these are zero then, as in a new engine, and adapters are drawn from
    `seed`. Frozen weights stay as they are (`restore_frozen`). `paths`: the files of all ranks that wrote it, in any
    order. All ranks call it. ValueError where a file is missing or damaged, or the model is another one.
    """
    with CheckpointReader(paths) as stored:
        for part in zero.fragments(engine.deepspeed):
            if stored.begins and is_adapter(part.name):
                begin_adapter(part, seed)
                continue
            if stored.shapes.get(part.name) != part.shape:
                there = stored.shapes.get(part.name, "absent")
                raise ValueError(
                    f"parameter {part.name} is {part.shape} in the model and {there} in the checkpoint of "
                    f"{stored.parts[0].name}; use the model configuration and tokenizer it was trained with"
                )
            for kind, tensor in part.kept.items():
                if kind in stored.kinds:
                    stored.read(part.name, kind, part.start, tensor)
                else:
                    tensor.zero_()
        steps = stored.steps
    zero.set_steps(engine.deepspeed, steps)
    zero.refresh_weights(engine.deepspeed)


def restore_frozen(engine: Engine, paths: Sequence[Path | Part]) -> None:
    """Put the frozen weights of what the run began with into `engine`; `restore_engine` must follow.

    All ranks call it. ValueError as there.
    """
    with CheckpointReader(paths) as stored:
        for part in zero.frozen(engine.deepspeed):
            if stored.shapes.get(part.name) != part.shape:
                there = stored.shapes.get(part.name, "absent")
                raise ValueError(
                    f"frozen {part.name} is {part.shape} in the model and {there} in {stored.parts[0].name}, with "
                    "which the run began; restore the store from a copy"
                )
            stored.read(part.name, "weight", part.start, part.weight)


def read_full_weights(paths: Sequence[Path]) -> dict[str, Tensor]:
    """Return every parameter in float32 from the files of all ranks; one process, no DeepSpeed."""
    with CheckpointReader(paths) as stored:
        return dict(stored.weights())


def weights_sha256(paths: Sequence[Path]) -> str:
    """Hash the full float32 weights: the same for the same weights, whatever wrote them."""
    with CheckpointReader(paths) as stored:
        return hash_weights(stored.weights())


def hash_weights(weights: Iterator[tuple[str, Tensor]]) -> str:
    """Hash names, shapes and values of weights that come ordered by name."""
    digest = hashlib.sha256()
    for name, weight in weights:
        digest.update(f"{name}{list(weight.shape)}".encode())
        digest.update(_bytes(weight.contiguous()))
    return digest.hexdigest()


class CheckpointReader:
    """The files of one checkpoint, and which stretch of which parameter lies where."""

    def __init__(self, paths: Sequence[Path | Part]) -> None:
        self.aside = torch.empty(PIECE_BYTES, dtype=torch.uint8)  # once: the allocator does not fill the holes of many
        self.parts = [LocalPart(path) if isinstance(path, Path) else path for path in paths]
        self.contents = [read_contents(part) for part in self.parts]
        headers = [contents.metadata for contents in self.contents]
        for part, header in zip(self.parts, headers, strict=True):
            if header.get("format") != FORMAT:
                raise ValueError(f"{part.name} is format={header.get('format')}, not {FORMAT}; give checkpoint files")
        wrote = {(header["world_size"], header["steps"]) for header in headers}
        ranks = sorted(int(header["rank"]) for header in headers)
        if len(wrote) != 1 or ranks != list(range(int(headers[0]["world_size"]))):
            raise ValueError(
                f"files of ranks {ranks} with (world size, steps) {sorted(wrote)} are no whole checkpoint; "
                "give the one file of every rank"
            )
        self.steps = int(headers[0]["steps"])
        self.begins = HOLDS in headers[0]
        self.kinds = KINDS if headers[0].get(HOLDS) is None else (headers[0][HOLDS],)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.places: dict[str, list[tuple[int, int]]] = {}  # parameter -> (start, file) of each stretch
        for index, header in enumerate(headers):
            for name, shape in json.loads(header["shapes"]).items():
                self.shapes[name] = tuple(shape)
            for name, start in json.loads(header["starts"]).items():
                self.places.setdefault(name, []).append((start, index))

    def __enter__(self) -> "CheckpointReader":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def stretches(self, name: str, kind: str, start: int, count: int) -> Iterator[tuple[int, int, int, int]]:
        """Find elements from `start` of a flattened parameter: (file, byte in it, elements from `start`, bytes)."""
        for first, index in self.places.get(name, ()):
            begin, end = self.contents[index].places.get(f"{name}|{kind}", (0, 0))
            width = self.contents[index].widths.get(f"{name}|{kind}", 4)
            low, high = max(start, first), min(start + count, first + (end - begin) // width)
            if low < high:
                yield index, begin + width * (low - first), low - start, width * (high - low)

    def read(self, name: str, kind: str, start: int, into: Tensor) -> None:
        """Fill `into` with elements from `start` of the flattened parameter."""
        filled = 0
        for index, first, place, size in self.stretches(name, kind, start, into.numel()):
            width = self.contents[index].widths[f"{name}|{kind}"]
            self._fill(into[place : place + size // width], self.parts[index], first, width)
            filled += size // width
        if filled != into.numel():
            raise ValueError(f"{name}|{kind} has {filled} of {into.numel()} elements from {start}; a file is damaged")

    def _fill(self, into: Tensor, part: Part, first: int, width: int) -> None:
        """Read a stretch that begins at a byte: in place, or by pieces where it is not kept as it is used."""
        kept = torch.float32 if width == 4 else torch.bfloat16
        if into.device.type == "cpu" and into.dtype == kept and into.is_contiguous():
            part.read_into(first, memoryview(_bytes(into)).cast("B"))
            return
        for piece in into.split(PIECE_BYTES // width):
            read = self.aside[: len(piece) * width].view(kept)
            part.read_into(first, memoryview(_bytes(read)).cast("B"))
            piece.copy_(read)
            first += read.nbytes

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield (name, full weight), ordered by name."""
        for name in sorted(self.shapes):
            weight = torch.empty(self.shapes[name], dtype=torch.float32)
            self.read(name, "weight", 0, weight.view(-1))
            yield name, weight


def _host_buffers(sources: dict[str, Tensor]) -> dict[str, Tensor]:
    pinned = torch.cuda.is_available()
    whole = torch.empty(sum(tensor.numel() for tensor in sources.values()), dtype=torch.float32, pin_memory=pinned)
    return dict(zip(sources, whole.split([tensor.numel() for tensor in sources.values()]), strict=True))


def _bytes(tensor: Tensor) -> Any:
    return tensor.reshape(-1).view(torch.uint8).numpy()
