"""Are messages read in every form that people write, and is what cannot be trained as it was meant refused?"""

import pytest

from data_ops.conversations.fields import ConversationFields, transcript_of
from data_ops.conversations.messages import UnfitError, Utterance, check_answers, read_exchange, read_messages


def test_parts_of_text_are_joined_and_other_keys_are_passed_over():
    parts = [{"type": "text", "text": "One "}, {"type": "text", "text": "two."}]
    assert read_messages([{"role": "developer", "content": parts, "name": "me"}]) == [Utterance("system", "One two.")]
    assert read_exchange("Why?", "So.") == [Utterance("user", "Why?"), Utterance("assistant", "So.")]


def test_a_record_with_messages_is_read_by_them_and_one_without_by_its_prompt():
    fields = ConversationFields(prompt="q", completion="a")
    both = {"messages": [{"role": "assistant", "content": "Hello there."}], "q": "Why?", "a": "So."}
    assert transcript_of(fields, both.get) == "◀ Hello there."
    assert transcript_of(fields, {**both, "messages": None}.get) == "▶ Why?\n◀ So."
    with pytest.raises(UnfitError, match="there is no messages, nor q, a") as error:
        transcript_of(fields, {"q": "Why?"}.get)
    assert error.value.reason == "missing_messages"


def test_answers_are_what_is_learnt_so_there_is_one_and_none_is_empty():
    check_answers([Utterance("assistant", "So.")])
    for messages in ([Utterance("user", "Why?")], [Utterance("assistant", "So."), Utterance("assistant", "\n")]):
        with pytest.raises(UnfitError) as error:
            check_answers(messages)
        assert error.value.reason == "no_answer"
