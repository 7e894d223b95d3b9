"""What does the transformers library say of an encoder, without its weights? It takes 3 s to import."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from pydantic import JsonValue
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from models.kinds.causal.config import CausalConfig
from models.kinds.causal.library import Library
from models.kinds.encoder.config import EncoderConfig
from models.kinds.encoder.module import MaskedDocuments, first_position


@dataclass(frozen=True)
class EncoderLibrary(Library):
    """Models that fill masks."""

    def heads_of(self, theirs: Any) -> int:
        """How many heads are told; 1 where they are of odd width, which our own key of the shape does not allow."""
        heads = int(theirs.num_attention_heads)
        return heads if theirs.hidden_size % (2 * heads) == 0 else 1

    def context_of(self, family: dict[str, JsonValue]) -> int:
        """How many positions a document may have: RoBERTa does not use the first ones."""
        with torch.device("meta"):
            return super().context_of(family) - first_position(self.build_model(family))

    def config_of_family(self, family: dict[str, JsonValue], directory: Path) -> CausalConfig:
        """Read a config.json as ours; ValueError where it is refused."""
        if family.get("is_decoder") or family.get("is_encoder_decoder"):
            raise ValueError(
                f"{directory} is or has a decoder by its config.json (is_decoder, is_encoder_decoder), which sees one "
                "way; use model.kind=transformers, or an encoder"
            )
        return super().config_of_family(family, directory)


LIBRARY = EncoderLibrary(
    frozenset(MODEL_FOR_MASKED_LM_MAPPING_NAMES), transformers.AutoModelForMaskedLM, MaskedDocuments, EncoderConfig
)
