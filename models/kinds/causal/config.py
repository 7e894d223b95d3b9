"""What is configured of a model that transformers compute? Its config.json; our own keys of a shape are not its."""

from typing import ClassVar

from pydantic import Field, JsonValue, model_validator

from models.config import ModelConfig

OURS = {"kind", "start", "row_tokens", "vocabulary", "init_std", "recompute", "lora", "freeze", "family", "packed"}
SHOWN = {"layers", "width", "heads"}  # read from the family's own keys, for the planner


class CausalConfig(ModelConfig):
    """The block `model` of kind transformers."""

    own: ClassVar[set[str]] = OURS  # keys that are not of the decoder

    kind: str = "transformers"
    family: dict[str, JsonValue] = Field({}, description="Its config.json: model_type, and what differs from it.")
    packed: bool | None = Field(
        None, description="Do documents packed into a row stay apart? Absent: found out when it is built."
    )

    @model_validator(mode="after")
    def _is_theirs(self) -> "CausalConfig":
        if self.start is None and not isinstance(self.family.get("model_type"), str):
            raise ValueError(f"kind={self.kind} needs a model; set from, or family with its model_type")
        plain = ModelConfig.model_validate({})
        for key in sorted(self.model_fields_set - self.own - SHOWN):
            if getattr(self, key) != getattr(plain, key):
                raise ValueError(f"{key} is a key of kind=decoder; say it in the family's own words: model.family")
        return self

    @property
    def remark(self) -> str | None:
        """What a reader should know of how its rows are read; None: nothing."""
        if self.packed is not False:
            return None
        return (
            f"{self.family.get('model_type')} reads across documents that are packed into a row, so each is computed "
            "in a row of its own: the same losses, slower and larger where documents are short"
        )
