"""Is each field of a request obeyed, or refused by its name with its value?"""

import json

import pytest

from cluster.http.asgi import RefusedError
from ray_jobs.serving.openai.requests import ChatAsked, CompletionAsked, read_request


def completion(**fields: object) -> CompletionAsked:
    return read_request(json.dumps({"prompt": "a", **fields}).encode(), CompletionAsked)


@pytest.mark.parametrize(
    ("fields", "param", "sentence"),
    [
        ({"max_tokens": -4}, "max_tokens", "max_tokens=-4 is not taken: expected `int` >= 0"),
        ({"temperature": "hot"}, "temperature", 'temperature="hot" is not taken: expected `float`, got `str`'),
        ({"temperature": 2.5}, "temperature", "temperature=2.5 is not taken: expected `float` <= 2.0"),
        ({"top_p": 0}, "top_p", "top_p=0 is not taken: expected `float` > 0.0"),
        ({"n": 0}, "n", "n=0 is not taken"),
        ({"logprobs": 6}, "logprobs", "logprobs=6 is not taken"),
        ({"foo": 1}, "foo", "foo is no field that is known here; leave it out"),
        ({"stream_options": {"foo": 1}}, "stream_options", "foo is no field in stream_options that is known here"),
        ({"presence_penalty": 0.5}, "presence_penalty", "presence_penalty=0.5 is not supported; leave it out"),
        ({"best_of": 3}, "best_of", "best_of=3 is not supported"),
        ({"prompt": None}, "prompt", "prompt is missing"),
        ({"prompt": {"a": 1}}, "prompt", 'prompt={"a":1} is not taken'),
        ({"prompt": [-1]}, "prompt", "prompt=[-1] is not taken"),
    ],
)
def test_a_wrong_field_is_named_with_its_value(fields: dict[str, object], param: str, sentence: str) -> None:
    with pytest.raises(RefusedError) as caught:
        completion(**fields)
    assert (caught.value.status, caught.value.param) == (400, param)
    assert caught.value.sentence.startswith(sentence)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b'"a"', b"\xff", b'{"prompt": "\xff"}'])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(RefusedError, match=r"the body is"):
        read_request(body, CompletionAsked)


def test_fields_that_say_nothing_are_taken() -> None:
    asked = completion(
        presence_penalty=0, logit_bias={}, suffix=None, user="me", metadata={"a": "b"}, stop=None, n=None
    )
    assert (asked.stops, asked.n, asked.temperature, asked.model) == ((), 1, 1.0, "champion")


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], [[1, 2]]), ([[1], [2, 3]], [[1], [2, 3]]), ("", [""])],
)
def test_prompts_are_texts_or_tokens(prompt: object, prompts: object) -> None:
    assert completion(prompt=prompt).prompts() == prompts


@pytest.mark.parametrize("prompt", [[], ["a", 1], [[]], [1, [2]]])
def test_prompts_that_are_neither_are_refused(prompt: object) -> None:
    with pytest.raises(RefusedError, match="none empty"):
        completion(prompt=prompt).prompts()


@pytest.mark.parametrize("stop", [[""], ["a"] * 5, ""])
def test_stops_are_few_and_not_empty(stop: object) -> None:
    with pytest.raises(RefusedError, match="at most 4 texts"):
        _ = completion(stop=stop).stops


def test_each_answer_has_a_seed_of_its_own_which_follows_from_the_requests() -> None:
    seeds = [how.seed for how in completion(seed=-1, n=3).samplings()]
    assert seeds == [2**63 - 1, 0, 1]
    assert completion().samplings() != completion().samplings(), "without a seed each request is drawn anew"


def test_a_chat_is_messages_of_text() -> None:
    def chat(*messages: object, **fields: object) -> ChatAsked:
        return read_request(json.dumps({"messages": messages, **fields}).encode(), ChatAsked)

    parts = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    assert chat(parts).messages[0].plain() == {"role": "user", "content": "ab"}
    for wrong in ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, {"content": "a"}):
        with pytest.raises(RefusedError) as caught:
            chat(wrong)
        assert caught.value.param == "messages"
    with pytest.raises(RefusedError, match="messages="):
        chat()
