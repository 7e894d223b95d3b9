"""The kind `encoder`: any model of transformers that fills masks (BERT, RoBERTa, ModernBERT), through the same engine.

It sees both ways and learns the tokens that were hidden from it (data_ops/rounds/masking.py). All else is as for a
causal model of that library: what a folder may hold, how documents share a row, how it leaves. A folder without the
layer that names tokens, as those for sentence embeddings are, gets one with random weights.
"""

import json
import math
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from models.config import ModelConfig
from models.kinds.causal.causal import INSIDE, Causal, family_key
from models.kinds.causal.config import CausalConfig
from models.kinds.encoder.config import EncoderConfig
from models.kinds.exchange.folder import Stored
from models.kinds.kind import Handover, Pretrained
from models.kinds.partial import Role

if TYPE_CHECKING:
    from torch import Tensor

    from models.kinds.causal.library import Library

MASKS = ("<|mask|>", "[MASK]", "<mask>")


class Encoder(Causal):
    """Masked language models of transformers."""

    config = EncoderConfig
    sort = "masked language model"
    left_out = (
        *("lm_head.decoder.", "cls.predictions.decoder.", "decoder.weight"),  # of tied tables
        *("cls.seq_relationship.", "pooler."),
    )

    def library(self) -> "Library":
        """The library's models of this sort; it is imported here."""
        library: Library = import_module("models.kinds.encoder.library").LIBRARY
        return library

    def flops_per_token(self, config: ModelConfig, vocab_size: int) -> float:
        """Count training FLOPs of one position in a full row: of the layer that names tokens, those of hidden ones.

        Where each document is computed in a row of its own, that layer is computed for all positions.
        """
        assert isinstance(config, EncoderConfig)
        base = INSIDE + self.library().prefix_of(family_key(config, vocab_size))
        share = 1.0 if config.packed is False else config.masking.share
        body, head = 0, 0
        for name, found in self.parameters(config, vocab_size).items():
            if len(found.shape) < 2 or found.role == Role.LOOKUP:
                continue
            if name.startswith(base) and found.role == Role.MATRIX:
                body += math.prod(found.shape)
            else:
                head += math.prod(found.shape)
        return 6.0 * (body + share * head) + 12.0 * config.layers * config.width * config.row_tokens

    def export(self, model: Pretrained, handover: Handover, directory: Path) -> None:
        """Write a folder that AutoModelForMaskedLM and AutoTokenizer load."""
        assert isinstance(model.config, EncoderConfig)
        # The family's own config.json, whose tokens stay what they are: RoBERTa counts positions from its padding.
        files = {"config.json": family_key(model.config, model.vocab_size).encode(), **handover.files}
        super().export(model, handover._replace(files=files), directory)
        if "generation_config.json" not in handover.files:
            (directory / "generation_config.json").unlink()  # it fills masks, and does not go on with a text
        if "tokenizer_config.json" in handover.files:
            return
        added = {entry["content"] for entry in json.loads(handover.tokenizer_json).get("added_tokens", [])}
        path = directory / "tokenizer_config.json"
        said = json.loads(path.read_text(encoding="utf-8"))
        said |= {"padding_side": "right", "cls_token": said["bos_token"], "sep_token": said["eos_token"]}
        said["mask_token"] = next((name for name in MASKS if name in added), None)
        path.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")

    def _found(self, config: CausalConfig, directory: Path, stored: Mapping[str, Stored]) -> Pretrained:
        found = super()._found(config, directory, stored)
        absent = set(self.parameters(config, found.vocab_size)) - set(found.weights)
        if not absent:
            return found
        base = self.library().prefix_of(family_key(config, found.vocab_size))
        heads = {name for name in self.parameters(config, found.vocab_size) if not name.startswith(INSIDE + base)}
        if lacking := sorted(heads - absent):
            raise ValueError(
                f"{directory} holds {lacking[0].removeprefix(INSIDE)} and not "
                f"{min(absent).removeprefix(INSIDE)}, of one layer; fetch all its files"
            )
        mine = config.model_copy(update={"new_head": True})
        return Pretrained(mine, found.vocab_size, WithNewHead(self, mine, found))

    def begins_anew(self, theirs: str, base: str) -> bool:
        """May a folder lack this parameter? One of the layer that names tokens."""
        return not theirs.startswith(base)


class WithNewHead(Mapping[str, "Tensor"]):
    """The weights of a folder, and those of a layer that it lacks, as they are drawn with seed 0."""

    def __init__(self, kind: Encoder, config: EncoderConfig | CausalConfig, found: Pretrained) -> None:
        self.kind, self.settings, self.there = kind, config, found.weights
        self.names = list(kind.parameters(config, found.vocab_size))
        self.vocab_size = found.vocab_size
        self.drawn: dict[str, Tensor] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, name: str) -> "Tensor":
        if name in self.there:
            return self.there[name]
        if not self.drawn:
            module = self.kind.build(self.settings, self.vocab_size, 0)
            self.drawn = {n: p.detach().clone() for n, p in module.named_parameters() if n not in self.there}
        return self.drawn[name]
