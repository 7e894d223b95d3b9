"""What is learnt from a source: all of its texts, or the answers of its conversations?"""

from typing import Literal

from pydantic import Field, model_validator

from data_ops.conversations.fields import ConversationFields
from data_ops.sources.protocol import SourceConfig

WHERE = ("messages", "prompt", "completion")


class ObjectiveConfig(SourceConfig):
    """Keys of a source whose records may be conversations."""

    objective: Literal["causal", "instruct", "masked"] | None = Field(
        None,
        description="causal: every token of a text is learnt; instruct: the answers of conversations; masked: hidden "
        "tokens, by an encoder; absent: causal, or masked where the model is an encoder.",
    )
    messages: str | None = Field(
        None, min_length=1, description="Of instruct: the field with the messages; absent: messages."
    )
    prompt: str | None = Field(
        None, min_length=1, description="Of instruct, where there are no messages: the question; absent: prompt."
    )
    completion: str | None = Field(None, min_length=1, description="And its answer; absent: completion.")
    max_tokens: int | None = Field(
        None, ge=2, description="Of instruct: a longer conversation is quarantined; absent: as many as a row holds."
    )

    @model_validator(mode="after")
    def _fields_are_of_the_objective(self) -> "ObjectiveConfig":
        strange = next((key for key in (*WHERE, "max_tokens") if getattr(self, key) is not None), None)
        if self.objective != "instruct" and strange is not None:
            raise ValueError(f"{strange}={getattr(self, strange)} is of conversations; set objective=instruct too")
        if self.objective == "instruct" and getattr(self, "text", "text") != "text":
            raise ValueError(
                f"text={getattr(self, 'text', '')} is of texts, and objective=instruct reads conversations; set "
                "messages, or prompt and completion"
            )
        if self.objective == "instruct" and (form := getattr(self, "format", "auto")) in ("text", "lines", "bytes"):
            raise ValueError(f"format={form} has no fields, and objective=instruct needs some; use lines of JSON")
        if (self.prompt is None) != (self.completion is None):
            raise ValueError(f"prompt={self.prompt} and completion={self.completion} belong together; set both")
        return self

    @property
    def conversations(self) -> ConversationFields | None:
        """Where the records keep their conversations; None: they are texts."""
        if self.objective != "instruct":
            return None
        named = {key: value for key in WHERE if (value := getattr(self, key)) is not None}
        return ConversationFields(**named)
