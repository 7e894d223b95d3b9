"""What is configured of an encoder? Its family's config.json, or our keys of one from scratch, and what is hidden."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, JsonValue, model_validator

from cluster.units import Settings
from models.config import Objective
from models.kinds.causal.config import OURS, CausalConfig

#: Families that are built from our keys where there is no folder: how they call them.
FROM_SCRATCH = ("bert", "modernbert")
#: Families that count positions from behind that of their padding.
BEHIND_PADDING = ("roberta", "xlm-roberta", "camembert", "mpnet", "roberta-prelayernorm", "data2vec-text", "xmod")
THEIR_KEYS = {"layers": "num_hidden_layers", "width": "hidden_size", "heads": "num_attention_heads"}
THEIR_KEYS |= {"ffn_width": "intermediate_size", "row_tokens": "max_position_embeddings"}


class MaskingConfig(Settings):
    """Which share of a text's tokens is hidden, and how (Devlin et al. 2019). Special tokens never are."""

    share: float = Field(0.15, ge=0.01, le=0.9, description="Of the tokens of a text, those that are learnt.")
    masked: float = Field(0.8, ge=0, le=1, description="Of these, the share that the model sees as the mask token.")
    other: float = Field(0.1, ge=0, le=1, description="And as another token; the rest it sees as they are.")

    @model_validator(mode="after")
    def _are_shares_of_one(self) -> "MaskingConfig":
        if self.masked + self.other > 1:
            raise ValueError(f"masked={self.masked} and other={self.other} are more than all; lower one of them")
        return self


class EncoderConfig(CausalConfig):
    """The block `model` of kind encoder."""

    learns: ClassVar[Objective] = Objective.MASKED
    choices: ClassVar[tuple[str, ...]] = ("masking",)
    own: ClassVar[set[str]] = {*OURS, "masking", "new_head", "ffn_width"}

    kind: str = "encoder"
    masking: MaskingConfig = Field(MaskingConfig.model_validate({}), description="Which tokens are hidden.")
    new_head: bool = Field(
        False, description="Found out: the folder lacked the layer that names tokens, which was drawn."
    )

    @model_validator(mode="before")
    @classmethod
    def _is_built_from_our_keys(cls, given: object) -> object:
        """From scratch, say our keys of the shape in the family's words, so that both are there and agree."""
        if not isinstance(given, Mapping) or given.get("from") is not None or given.get("start") is not None:
            return given
        family = given.get("family") or {}
        if not isinstance(family, Mapping) or family.get("model_type", "bert") not in FROM_SCRATCH:
            return given
        return {**given, **_in_their_words(given, family)}

    @model_validator(mode="after")
    def _has_positions_for_a_row(self) -> "EncoderConfig":
        most, padding = self.family.get("max_position_embeddings"), self.family.get("pad_token_id")
        if isinstance(most, int) and isinstance(padding, int) and self.family.get("model_type") in BEHIND_PADDING:
            most -= padding + 1
        if isinstance(most, int) and self.row_tokens > most:
            raise ValueError(
                f"row_tokens={self.row_tokens} is longer than the {most} positions that the model knows "
                f"(max_position_embeddings); use at most {most}"
            )
        return self

    @property
    def remark(self) -> str | None:
        """What a reader should know of how its rows are read, and of what is new in it; None: nothing."""
        new = "its folder has no layer that names tokens: it begins with random weights" if self.new_head else None
        return "; ".join(said for said in (super().remark, new) if said) or None


def _in_their_words(given: Mapping[str, object], family: Mapping[str, JsonValue]) -> dict[str, object]:
    plain: dict[str, object] = {name: field.default for name, field in EncoderConfig.model_fields.items()}
    given = {key: value for key, value in given.items() if value is not None}
    shape = {ours: given.get(ours, family.get(theirs, plain[ours])) for ours, theirs in THEIR_KEYS.items()}
    if shape["ffn_width"] is None and isinstance(shape["width"], int):
        shape["ffn_width"] = 4 * shape["width"]
    if "max_position_embeddings" in family and "row_tokens" in given:
        shape.pop("row_tokens")  # of a context that is longer than a row
    for ours, value in shape.items():
        theirs = THEIR_KEYS[ours]
        if ours in given and family.get(theirs, value) != value and (ours, value) != ("heads", 1):
            raise ValueError(f"{ours}={value} differs from family.{theirs}={family[theirs]}; leave one of them out")
    if family.keys() >= set(THEIR_KEYS.values()):
        return {ours: value for ours, value in shape.items() if ours != "ffn_width"}  # a whole config.json
    no_tokens = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"))
    said = {"model_type": "bert", **no_tokens, **{THEIR_KEYS[ours]: value for ours, value in shape.items()}}
    return {**shape, "family": said | dict(family)}
