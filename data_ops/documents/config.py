"""What can be configured of the tokenizer?"""

from typing import Literal

from pydantic import Field, model_validator

from cluster.units import Settings, Size


class TokenizerConfig(Settings):
    """The one tokenizer of a store."""

    kind: Literal["bytes", "bpe", "file", "model"] = Field(
        "bpe", description="bytes, bpe (trained here), file (given) or model (that of model.from, the default there)."
    )
    path: str | None = Field(None, description="The tokenizer.json of kind file.")
    vocabulary: int = Field(8192, ge=257, le=1_000_000, description="Tokens of kind bpe, document token included.")
    train_bytes: Size = Field(16 << 20, ge=1, le=1 << 34, description="Text that kind bpe is trained on at most.")

    @model_validator(mode="after")
    def _path_belongs_to_file(self) -> "TokenizerConfig":
        if (self.path is not None) != (self.kind == "file"):
            raise ValueError(
                f"tokenizer.path={self.path!r} with kind={self.kind}; only kind file has a path, and needs it"
            )
        return self
