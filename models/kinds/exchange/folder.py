"""What does a Hugging Face folder hold, and how is one tensor of it read?

Only config.json and the headers of the safetensors files are read to look into it: every file, name, shape and
precision is checked before a cluster is touched, without torch. A tensor is read by its range of bytes when somebody
asks for it, so that a model of any size is never in memory whole. Pickles and code of the folder's own are refused.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import JsonValue

from models.config import ModelConfig
from models.kinds.exchange.names import TABLES, their_name
from models.kinds.exchange.reading import config_of
from models.kinds.kind import Pretrained
from models.kinds.shapes import Extent, parameter_shapes
from models.size import padded_vocab

if TYPE_CHECKING:
    from torch import Tensor

MOST_HEADER_BYTES = 1 << 27
WIDTHS = {"F32": 4, "BF16": 2, "F16": 2}
INDEX = "model.safetensors.index.json"
BUFFERS = ("rotary_emb.inv_freq", "self_attn.bias", "self_attn.masked_bias")  # that older versions saved as well
COUNTED = "embeddings.position_ids"  # 0, 1, 2, ..., which older versions saved too, as integers
PICKLES = {".bin": "pickles, which may run code when they are read", ".pt": "pickles", ".pth": "pickles"}
CONVERT = "convert it: AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW, safe_serialization=True)"


class Stored(NamedTuple):
    """Where a tensor lies."""

    path: Path
    dtype: str
    shape: Extent
    start: int  # byte in the file


def read_folder(directory: Path) -> Pretrained:
    """Look into a folder; ValueError, in one sentence with the mend, where something does not fit."""
    theirs = read_keys(directory, "config.json")
    config = config_of(theirs, directory)
    vocab_size = config.tokens_of(0)
    stored = read_headers(directory)
    return Pretrained(config, vocab_size, FolderWeights(_places(config, vocab_size, stored, directory), vocab_size))


def read_keys(directory: Path, name: str) -> dict[str, JsonValue]:
    """Read one of the folder's JSON files."""
    try:
        value = json.loads((directory / name).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{directory}/{name} cannot be read ({error.strerror}); give a Hugging Face folder") from error
    except ValueError as error:
        raise ValueError(f"{directory}/{name} is no JSON ({error}); fetch it again") from error
    if not isinstance(value, dict):
        raise ValueError(f"{directory}/{name} holds no keys and values; fetch it again")
    return value


def read_headers(directory: Path) -> dict[str, Stored]:
    """Return where every tensor lies, by its name; ValueError for a file that is missing, cut short or another."""
    if (directory / INDEX).is_file():
        places = read_keys(directory, INDEX).get("weight_map")
        if not isinstance(places, dict) or not all(
            isinstance(file, str) and Path(file).name == file for file in places.values()
        ):
            raise ValueError(f"{directory}/{INDEX} has no weight_map of file names; fetch it again")
        files = sorted({str(file) for file in places.values()})
        if missing := [file for file in files if not (directory / file).is_file()]:
            raise ValueError(
                f"{directory} lacks {missing[0]} ({len(missing)} of {len(files)} files); fetch all its files"
            )
    else:
        files = sorted(path.name for path in directory.glob("*.safetensors"))
    if not files:
        raise ValueError(_what_instead(directory))
    found: dict[str, Stored] = {}
    for file in files:
        found |= _header(directory / file)
    return found


class FolderWeights(Mapping[str, "Tensor"]):
    """The tensors of a folder by our names; each is read when it is asked for. Tables are padded with zeros."""

    def __init__(self, places: Mapping[str, Stored], vocab_size: int) -> None:
        self.places, self.vocab_size = places, vocab_size

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, name: str) -> "Tensor":
        import torch  # 2 s: not for looking into a folder

        stored = self.places[name]
        dtype = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}[stored.dtype]
        rows, *rest = stored.shape
        padded = padded_vocab(self.vocab_size) if name in TABLES else rows
        tensor = torch.zeros((padded, *rest), dtype=dtype)
        wanted = math.prod(stored.shape) * dtype.itemsize
        into = tensor.view(-1).view(torch.uint8).numpy().data.cast("B")[:wanted]
        with stored.path.open("rb", buffering=0) as file:
            file.seek(stored.start)
            done = 0
            while done < wanted:
                if (count := file.readinto(into[done:])) in (0, None):
                    raise ValueError(f"{stored.path} ends at byte {stored.start + done}, within {name}; fetch it again")
                done += count
        return tensor.float() if dtype == torch.float16 else tensor


def _places(config: ModelConfig, vocab_size: int, stored: Mapping[str, Stored], directory: Path) -> dict[str, Stored]:
    """Find each of our parameters in a folder, with its shape."""
    places, unknown = {}, set(stored)
    for ours, shape in parameter_shapes(config, vocab_size).items():
        theirs = their_name(ours, config)
        if theirs not in stored:
            near = next(iter(sorted(unknown - {theirs})), "nothing")
            raise ValueError(
                f"{directory} lacks {theirs}, which its config.json promises (it has {near}); "
                "fetch all its files, or its own config.json"
            )
        place = stored[theirs]
        if place.shape != shape:
            raise ValueError(
                f"{theirs} of {directory} is {list(place.shape)}, its config.json says {list(shape)}; "
                "fetch both from one place"
            )
        places[ours] = place
        unknown.discard(theirs)
    if config.tie_embeddings:
        unknown.discard("lm_head.weight")
    if extra := sorted(name for name in unknown if not name.endswith(BUFFERS)):
        raise ValueError(
            f"{directory} has {extra[0]}, which a {config_name(directory)} has not ({len(extra)} such names); "
            "fetch its own config.json"
        )
    return places


def config_name(directory: Path) -> str:
    """Name what a folder's config.json says it is."""
    return str(read_keys(directory, "config.json").get("model_type"))


def _what_instead(directory: Path) -> str:
    suffixes = {path.suffix for path in directory.iterdir()} if directory.is_dir() else set()
    for suffix, what in PICKLES.items():
        if suffix in suffixes:
            return f"{directory} holds its weights as *{suffix} ({what}) and not as safetensors; {CONVERT}"
    if ".gguf" in suffixes:
        return f"{directory} holds a GGUF file, whose weights are rounded; take the safetensors they were made from"
    return f"{directory} holds no *.safetensors; fetch all its files"


def _header(path: Path) -> dict[str, Stored]:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size - 8, MOST_HEADER_BYTES):
                raise ValueError(f"a header of {length} bytes in {size}")
            header = json.loads(file.read(length))
        found, base = {}, 8 + length
        for name, entry in header.items():
            if name == "__metadata__" or name.endswith(COUNTED):
                continue
            dtype, shape, (first, end) = str(entry["dtype"]), tuple(map(int, entry["shape"])), entry["data_offsets"]
            if dtype not in WIDTHS:
                raise ValueError(f"{name} is {dtype}, not one of {', '.join(WIDTHS)}")
            if (
                not shape
                or min(shape) < 1
                or end - first != math.prod(shape) * WIDTHS[dtype]
                or not 0 <= first <= end <= size - base
            ):
                raise ValueError(f"{name} does not lie within the file; it is cut short")
            found[name] = Stored(path, dtype, shape, base + first)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read as safetensors ({error}); fetch it again") from error
    return found
