"""Do the keys of conversations stand where conversations are, and only there?"""

import pytest
from pydantic import ValidationError

from data_ops.conversations.fields import ConversationFields
from data_ops.sources.files.config import FilesConfig
from data_ops.sources.kafka.config import KafkaConfig
from data_ops.sources.objective import ObjectiveConfig

BROKER = {"servers": "a:1", "topics": "talks"}


def test_a_source_of_texts_has_no_conversations_and_one_of_conversations_says_where_they_are() -> None:
    assert FilesConfig(path="a").conversations is None
    assert FilesConfig(path="a", objective="instruct").conversations == ConversationFields()
    named = KafkaConfig(**BROKER, objective="instruct", prompt="q", completion="a.b")
    assert named.conversations == ConversationFields("messages", "q", "a.b")


@pytest.mark.parametrize(
    ("kind", "keys", "words"),
    [
        (FilesConfig, {"messages": "turns"}, "messages=turns is of conversations; set objective=instruct too"),
        (FilesConfig, {"max_tokens": 9}, "max_tokens=9 is of conversations"),
        (FilesConfig, {"objective": "instruct", "text": "body"}, "text=body is of texts"),
        (FilesConfig, {"objective": "instruct", "format": "lines"}, "format=lines has no fields"),
        (KafkaConfig, {"objective": "instruct", "format": "bytes"}, "format=bytes has no fields"),
        (FilesConfig, {"objective": "instruct", "prompt": "q"}, "prompt=q and completion=None belong together"),
        (FilesConfig, {"objective": "chat"}, "Input should be 'causal', 'instruct' or 'masked'"),
    ],
)
def test_a_key_that_does_not_fit_is_refused(kind: type[ObjectiveConfig], keys: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        kind.model_validate({**({"path": "a"} if kind is FilesConfig else BROKER), **keys})
