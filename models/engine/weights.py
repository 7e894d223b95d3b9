"""How are weights that were trained elsewhere looked at as files of a checkpoint, and files as weights?

Both ways one tensor at a time is in memory, so that a model of any size is taken in and handed back by one process.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from models.config import ModelConfig
from models.engine.adapters import merged
from models.engine.checkpoint import FORMAT, HOLDS, CheckpointReader, Snapshot, hash_weights
from models.engine.parts import Part
from models.kinds.kind import Pretrained
from models.kinds.kinds import kind_of
from models.kinds.partial import MATRICES, module_of, targets_of
from models.kinds.shapes import parameter_shapes
from models.kinds.transformer import draw_weight

AHEAD = "ahead."  # before the names of the parameters of heads for further tokens


class Weighed(NamedTuple):
    """What some weights are: the hash that `weights_sha256` gives, and the shape of each."""

    sha256: str
    shapes: dict[str, tuple[int, ...]]


class StoredWeights(Mapping[str, Tensor]):
    """Full float32 weights out of a checkpoint's files, each read when it is asked for."""

    def __init__(self, parts: Sequence[Path | Part]) -> None:
        self.reader = CheckpointReader(parts)

    def __iter__(self) -> Iterator[str]:
        return iter(self.reader.shapes)

    def __len__(self) -> int:
        return len(self.reader.shapes)

    def __getitem__(self, name: str) -> Tensor:
        weight = torch.empty(self.reader.shapes[name], dtype=torch.float32)
        self.reader.read(name, "weight", 0, weight.view(-1))
        return weight


class MergedWeights(Mapping[str, Tensor]):
    """Full float32 weights of a run that trains in part: what it began with, what trained in its place, or both."""

    def __init__(self, base: Mapping[str, Tensor], own: Mapping[str, Tensor], config: ModelConfig) -> None:
        """base: all weights; own: those of the checkpoint, adapters among them; config: of its model."""
        self.base, self.own, self.lora = base, own, config.lora
        parameters = kind_of(config).parameters(config, config.tokens_of(1))  # no matrix depends on the vocabulary
        self.targets = targets_of(config.lora, parameters) if config.lora else {}

    def __iter__(self) -> Iterator[str]:
        return iter(self.base)

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, name: str) -> Tensor:
        if name in self.own:
            return self.own[name]
        if self.lora is None or name not in self.targets:
            return self.base[name]
        first, second = (self.own[f"{module_of(name)}.{which}.weight"] for which in MATRICES)
        return merged(self.base[name], first, second, self.lora.scale, transposed=self.targets[name].transposed)


class HeadedWeights(Mapping[str, Tensor]):
    """Weights with the heads for further tokens of a configuration; each is made when it is asked for.

    Heads that are there are kept. Those that are missing begin as those of a new model: each matrix is drawn from a
    generator of its own, a function of (seed, name) alone. The trunk stays as it is, and what it says of a next token.
    """

    def __init__(self, weights: Mapping[str, Tensor], config: ModelConfig, seed: int) -> None:
        self.weights, self.config, self.seed = weights, config, seed
        shapes = parameter_shapes(config, config.tokens_of(1))  # no head has a shape that depends on the vocabulary
        self.heads = {name: shape for name, shape in shapes.items() if name.startswith(AHEAD)}
        self.names = [*(name for name in weights if not name.startswith(AHEAD)), *self.heads]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, name: str) -> Tensor:
        if name.startswith(AHEAD) and name not in self.weights:
            drawn = torch.empty(self.heads[name])
            draw_weight(name, drawn, self.config, self.seed)
            return drawn
        return self.weights[name]


def with_heads(model: Pretrained, config: ModelConfig, seed: int) -> Pretrained:
    """Give a model the heads that `model.mtp` asks for, and no others."""
    if config.further == model.config.further:
        return model
    shape = model.config.model_copy(update={"mtp": config.mtp})
    return model._replace(config=shape, weights=HeadedWeights(model.weights, shape, seed))


class FlatWeights(Mapping[str, Tensor]):
    """Weights under the keys and in the form of a checkpoint's file."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.weights = weights

    def __iter__(self) -> Iterator[str]:
        return (f"{name}|weight" for name in self.weights)

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, key: str) -> Tensor:
        return self.weights[key.partition("|")[0]].reshape(-1)


def measure_weights(weights: Mapping[str, Tensor]) -> Weighed:
    """Hash weights, whatever precision they are kept in, and tell their shapes; reads each once."""
    shapes: dict[str, tuple[int, ...]] = {}

    def named() -> Iterator[tuple[str, Tensor]]:
        for name in sorted(weights):
            weight = weights[name].float()
            shapes[name] = tuple(weight.shape)
            yield name, weight

    return Weighed(hash_weights(named()), shapes)


def initial_snapshot(weights: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> Snapshot:
    """Return the one file of a checkpoint of weights alone, at step 0; its tensors are read as it is written."""
    metadata = {"format": FORMAT, "rank": "0", "world_size": "1", "steps": "0", HOLDS: "weight"}
    metadata |= {"starts": json.dumps(dict.fromkeys(weights, 0)), "shapes": json.dumps(dict(shapes))}
    return Snapshot(FlatWeights(weights), metadata)


def digest_of_facts(*facts: object) -> str:
    """Hash some plain facts.

    >>> digest_of_facts("a", 1) == digest_of_facts("a", 1) != digest_of_facts("a", 2)
    True
    """
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
