"""What do the chains of the matrix begin with: random weights, or a folder, of which all trains or adapters alone?"""

from enum import StrEnum
from pathlib import Path
from typing import Any

from data_ops.documents.tokenizer import byte_tokenizer
from models.config import ModelConfig
from models.kinds.building import build
from models.kinds.exchange.writing import write_folder
from models.kinds.kind import Handover, Pretrained

SEED = 11
SHAPE = {"layers": 1, "width": 32, "heads": 2, "row_tokens": 256}
LORA = {"rank": 4, "alpha": 8, "dropout": 0.1}  # every matrix of the layer


class Start(StrEnum):
    """What a chain begins with, and what of it trains."""

    RANDOM = "random"
    FULL = "full"
    LORA = "lora"

    @property
    def title(self) -> str:
        """What the tables add to the name of a corpus."""
        return {"random": "", "full": ", from a base, all trains", "lora": ", from a base, LoRA"}[self.value]


def settings_of(start: Start, folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a chain; with a base, which is written at the first call, shape and tokenizer are its own."""
    if start == Start.RANDOM:
        return settings
    base = folder / "base"
    if not base.exists():
        _write_base(base)
    model: dict[str, Any] = {"from": str(base), "row_tokens": SHAPE["row_tokens"]}
    model |= {"lora": LORA} if start == Start.LORA else {}
    return {key: value for key, value in settings.items() if key != "tokenizer"} | {"model": model}


def _write_base(folder: Path) -> None:
    config, tokenizer = ModelConfig.model_validate(SHAPE), byte_tokenizer()
    weights = {name: one.detach() for name, one in build(config, tokenizer.vocab_size, SEED).named_parameters()}
    handover = Handover(tokenizer.to_json(), tokenizer.document_token)
    write_folder(Pretrained(config, tokenizer.vocab_size, weights), handover, folder)
